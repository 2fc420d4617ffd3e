"""Many jobs from eight sessions, and nothing is left of them but what retention keeps.

PGBACKGROUND_JOBS   how many jobs (100,000)
PGBACKGROUND_SHORT  3,000 jobs, for CI
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import eventually
from tests.integration.session import Session

JOBS = int(
    os.environ.get("PGBACKGROUND_JOBS")
    or ("3000" if os.environ.get("PGBACKGROUND_SHORT") else "100000")
)
SESSIONS = 8
HISTORY = 1000
# A worker looks for outlived jobs after one job in 16, and lets at least 32 go: all eight may be late.
SLACK = 400
GROWTH_MB = 8.0

MEMORY = """
create function public.memory(pid int4) returns float8 language plpython3u as $$
with open(f"/proc/{pid}/status") as status:
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
$$
"""


def _launch_and_wait(session: Session, chance: random.Random) -> None:
    job = session.launch(f"insert into public.t values ({chance.randrange(1000)})")
    assert session.finished(job).state == "stopped"
    session.detach(job)


def _read(session: Session, chance: random.Random) -> None:
    rows = chance.randrange(1, 50)
    job = session.launch(f"select i from generate_series(1, {rows}) i")
    assert len(session.result(job, "i int4")) == rows
    session.detach(job)


def _keep(session: Session, _chance: random.Random) -> None:
    session.wait(session.launch("select repeat('x', 2000)"))


def _fail(session: Session, _chance: random.Random) -> None:
    job = session.launch("select 1/0")
    assert session.finished(job).sqlstate == "22012"
    session.detach(job)


def _cancel(session: Session, _chance: random.Random) -> None:
    job = session.launch("select pg_sleep(60)")
    session.cancel(job)
    assert session.finished(job).state == "canceled"
    session.detach(job)


def _run(session: Session, chance: random.Random) -> None:
    session.call("run", f"insert into public.t values ({chance.randrange(1000)})")


def _several(session: Session, _chance: random.Random) -> None:
    jobs = [session.submit("select 1") for _ in range(3)]
    for job in jobs:
        session.wait(job)
    session.call("purge")


def _temporary(session: Session, _chance: random.Random) -> None:
    job = session.launch("create temp table x (n int4); select pg_advisory_lock(17); listen_to()")
    session.wait(job)
    session.detach(job)


# Weighted: cancels cost a worker each.
MIX: tuple[tuple[Callable[[Session, random.Random], None], int], ...] = (
    (_launch_and_wait, 40), (_run, 30), (_read, 15), (_several, 8), (_fail, 5), (_keep, 5), (_temporary, 2),
    (_cancel, 1),
)  # fmt: skip


class Client(threading.Thread):
    """One session that does its share of the jobs."""

    def __init__(self, session: Session, jobs: int, seed: int) -> None:
        super().__init__()
        self.session = session
        self.jobs = jobs
        self.chance = random.Random(seed)  # noqa: S311
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Work, and keep what went wrong for the test."""
        actions, weights = zip(*MIX)
        try:
            for action in self.chance.choices(actions, weights, k=self.jobs):
                action(self.session, self.chance)
        except (psycopg.Error, AssertionError) as error:
            self.failure = error


def _work(sessions: list[Session], jobs: int, seed: int) -> None:
    clients = [Client(session, jobs // SESSIONS, seed + n) for n, session in enumerate(sessions)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    for client in clients:
        if client.failure is not None:
            raise client.failure


@pytest.mark.timeout(7200)
def test_many_jobs_leave_nothing_but_what_retention_keeps(
    db: Database, roles: Roles, capsys: pytest.CaptureFixture[str]
) -> None:
    app = roles.create("app")
    admin = Session(db.connect())
    admin.execute(MEMORY)
    admin.execute("create table public.t (n int4)")
    admin.execute(f"grant insert on public.t to {app}")
    admin.execute(
        f"insert into background.pg_background_config values ('max_history', '{HISTORY}')"
    )
    sessions = [Session(db.connect(app)) for _ in range(SESSIONS)]

    def memory() -> list[float]:
        return [admin.value("select public.memory(%s)", [session.pid]) for session in sessions]

    # What a session needs once: Python, its modules, plans.
    _work(sessions, JOBS // 5, 1)
    before = memory()
    _work(sessions, JOBS - JOBS // 5, 1000)
    growth = max(now - then for now, then in zip(memory(), before))

    kept = admin.value("select count(*) from pgbackground.job")
    live = admin.value(
        "select count(*) from background.pg_background_jobs where state in ('queued', 'running')"
    )
    rows = admin.value(
        "select count(*) from pgbackground.job_rows r"
        " where not exists (select from pgbackground.job j where j.cookie = r.cookie)"
    )
    workers = admin.value(
        "select count(*) from pg_stat_activity where application_name like 'pg_background%'"
        " and datname = current_database()"
    )
    size = admin.value("select pg_total_relation_size('pgbackground.job') / 1048576.0")
    for session in sessions:
        session.close()
    eventually(
        lambda: (
            not admin.value(
                "select count(*) from pg_stat_activity where pid <> pg_backend_pid()"
                " and datname = current_database() and backend_type = 'client backend'"
            )
        ),
        75,
    )
    # A job that was canceled before it began leaves its lock to its link.
    eventually(lambda: not admin.value("select count(*) from pg_locks where locktype = 'advisory'"))
    with capsys.disabled():
        print(
            f"\n{JOBS} turns of {SESSIONS} sessions: {kept} registry rows (max_history {HISTORY}), {live} live,"
            f" {rows} orphaned chunks, {workers} warm workers, registry {size:.1f} MB with indexes,"
            f" a launcher grew by at most {growth:.1f} MB; afterwards no lock and no backend"
        )
    assert live == 0
    assert rows == 0
    assert kept <= HISTORY + SLACK
    # each session runs at most three jobs at once
    assert workers <= SESSIONS * 4
    assert growth < GROWTH_MB
