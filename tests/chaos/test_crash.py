"""The server crashes with jobs in flight: a job that says stopped has its effect, and no other has."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database
from tests.fix_wait import eventually
from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.servers import Server

LAUNCHERS = 4

# Per job: what the registry says, and how many of its two rows are there.
TRUTH = """
select coalesce(j.label, t.n::text), j.state, j.mode, count(t.n)
  from background.pg_background_jobs j full join public.t on t.n::text = j.label
 group by 1, 2, 3
"""


class Launcher(threading.Thread):
    """Launches jobs that write two rows each until the server is gone."""

    def __init__(self, session: Session, numbers: range, chance: random.Random) -> None:
        super().__init__()
        self.session = session
        self.numbers = numbers
        self.chance = chance
        self.seen_stopped: list[int] = []

    def run(self) -> None:
        """Wait for most jobs, leave some alone."""
        try:
            for number in self.numbers:
                pause = self.chance.random() / 200
                job = self.session.launch(
                    f"insert into public.t values ({number}); select pg_sleep({pause});"
                    f" insert into public.t values ({number})",
                    0,
                    str(number),
                )
                if self.chance.random() < 0.8:
                    self.session.wait(job)
                    if self.session.outcome(job).state == "stopped":
                        self.seen_stopped.append(number)
        except psycopg.Error:
            return


def _crash(local: LocalServer, observer: Session, chance: random.Random) -> str:
    """Stop the whole server at once, or kill a worker or a launcher with SIGKILL."""
    way = chance.choice(("immediate", "worker", "launcher"))
    like = "= 'pg_background'" if way == "worker" else "= 'launcher'"
    pids = observer.rows(
        "select pid from pg_stat_activity where datname = current_database()"
        f" and split_part(application_name, ' [', 1) {like}"
    )
    if way == "immediate" or not pids:
        local.crash()
        return "immediate"
    os.kill(chance.choice(pids)[0], signal.SIGKILL)
    return way


def _recovered(local: LocalServer, db: Database) -> Session:
    if not local.running:
        local.start()

    def again() -> Session | None:
        try:
            return Session(db.connect())
        except psycopg.OperationalError:
            return None

    session = eventually(again, 60)
    assert session is not None
    return session


@pytest.mark.timeout(1800)
def test_stopped_and_effect_are_one_fact_across_crashes(
    server: Server,
    db: Database,
    app: str,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    if server.local is None:
        pytest.skip("a server in a container cannot be crashed from here")
    local = server.local
    ways: dict[str, int] = {}
    jobs = lost = stopped = 0
    for turn in range(rounds(4, 200)):
        observer = Session(db.connect())
        observer.execute("truncate public.t")
        observer.execute("truncate pgbackground.job, pgbackground.job_rows")
        launchers = [
            Launcher(
                Session(db.connect(app, application_name="launcher")),
                range(n * 100_000, (n + 1) * 100_000),
                random.Random(chance.random()),  # noqa: S311
            )
            for n in range(LAUNCHERS)
        ]
        for launcher in launchers:
            launcher.start()
        # The first jobs of a session take a while: Python starts.
        time.sleep(0.1 + chance.random() * 0.4)
        way = _crash(local, observer, chance)
        for launcher in launchers:
            launcher.join(60)
            assert not launcher.is_alive(), f"round {turn}: a launcher hangs after {way}"
        ways[way] = ways.get(way, 0) + 1
        db.close()
        observer = _recovered(local, db)
        truth = observer.rows(TRUTH)
        seen = {str(number) for launcher in launchers for number in launcher.seen_stopped}
        for label, state, _mode, rows in truth:
            assert (state, rows) in {("stopped", 2), ("error", 0)}, (turn, way, label, state, rows)
            assert label not in seen or state == "stopped", (turn, way, label)
        assert seen <= {label for label, *_ in truth}, (turn, way)
        jobs += len(truth)
        stopped += sum(state == "stopped" for _, state, _, _ in truth)
        lost += sum(state == "error" for _, state, _, _ in truth)
        db.close()
    counted(
        f"{sum(ways.values())} crashes {ways}; {jobs} jobs, {stopped} stopped, {lost} lost; 0 lies"
    )
