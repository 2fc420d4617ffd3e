"""Each time a schedule is due becomes one job, and that runs once: 8 tickers, a killed clock, crashes."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import psycopg
import pytest

from tests.chaos.blows import Blows, recovered
from tests.fix_db import Database
from tests.fix_wait import eventually
from tests.integration.schedule.schedules import schedule, tick
from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.servers import Server

TICKERS = 8
# Texts, zones with changes of summer time at odd moments, and how far apart they are due, about.
KINDS = (
    ("@every 7 days", "UTC", "7 days"),
    ("30 2 * * *", "Europe/Berlin", "1 day"),
    ("*/20 * * * *", "America/New_York", "20 min"),
    ("0 0 * * *", "America/Santiago", "1 day"),
    ("15 */6 * * *", "Australia/Lord_Howe", "6 hours"),
)
EACH_SECOND = "1 second"
OPTIONS = '{"attempts": 1000, "backoff": "0 s", "retry_on": "any"}'
SETUP = """
create table public.ran (cookie int8);
create function public.run() returns void language sql security definer as $sql$
    insert into public.ran
    select j.cookie from pgbackground.job j where j.state = 'running' and j.pid = pg_backend_pid()
$sql$;
"""
# One snapshot of where the schedule is and of all its jobs.
JOBS = """
select s.next_run, array_agg(j.due_at), array_agg((select count(*) from public.ran r where r.cookie = j.cookie))
  from pgbackground.schedule s left join pgbackground.job j on j.schedule = s.id and j.due_at is not null
 where s.name = %s group by s.next_run
"""
EXPECTED = """
select array(select n from background.pg_background_next_runs(
           %(text)s, %(zone)s, 1000, %(first)s - interval '1 s') n where n < %(until)s)
"""
DUE = (
    "select count(*) from pgbackground.schedule"
    " where active and next_run <= clock_timestamp() - interval '1 s'"
)
UNDONE = "select count(*) from pgbackground.job where live"


class Ticker(threading.Thread):
    """Ticks until told to stop, and comes back when it was cut off."""

    def __init__(self, db: Database, app: str, chance: random.Random) -> None:
        super().__init__()
        self.db = db
        self.app = app
        self.chance = chance
        self.enough = threading.Event()
        self.session: Session | None = None

    def run(self) -> None:
        """Tick, whatever becomes of it."""
        while not self.enough.wait(self.chance.random() * 0.02):
            try:
                if self.session is None or self.session.connection.closed:
                    self.session = Session(self.db.connect(self.app))
                tick(self.session)
            except psycopg.Error:
                continue


class Plan:
    """The schedules of a round, and the first time that each of them is due."""

    def __init__(self, session: Session, turn: int) -> None:
        self.kinds = {
            f"{turn} {text} {zone}": (text, zone, apart)
            for text, zone, apart in (*KINDS, (EACH_SECOND, "UTC", "1 second"))
        }
        self.first: dict[str, datetime] = {}
        for name, (text, zone, _) in self.kinds.items():
            schedule(
                session, name, text, "select public.run()", timezone=zone, missed="all", overlap="all", options=OPTIONS
            )  # fmt: skip

    def begin(self, admin: Session, times: int) -> None:
        """Let all of them have been due for so many times, at once."""
        admin.execute("begin")
        for name, (text, _, apart) in self.kinds.items():
            back = 0 if text == EACH_SECOND else times
            self.first[name] = admin.value(
                "update pgbackground.schedule set next_run = next_run - %s * %s::interval where name = %s"
                " returning next_run",
                [back, apart, name],
            )
        admin.execute("commit")

    def faults(self, admin: Session) -> tuple[Counter[str], list[str]]:
        """Count the due times, and say what is wrong with their jobs."""
        seen: Counter[str] = Counter()
        wrong: list[str] = []
        for name, (text, zone, _) in self.kinds.items():
            ((following, due, runs),) = admin.rows(JOBS, [name])
            asked = {"text": text, "zone": zone, "first": self.first[name], "until": following}
            expected = admin.value(EXPECTED, asked)
            jobs = Counter(due)
            seen["due times"] += len(expected)
            kinds = {
                "lost": [time for time in expected if not jobs[time]],
                "doubled": [time for time, count in jobs.items() if count > 1],
                "never due": sorted(set(jobs) - set(expected)),
                "not run": [time for time, count in zip(due, runs, strict=True) if count < 1],
                "run twice": [time for time, count in zip(due, runs, strict=True) if count > 1],
            }
            for kind, times in kinds.items():
                seen[kind] += len(times)
                wrong += [f"{name} {kind}: {len(times)}, {times[:3]}"] if times else []
        return seen, wrong


@pytest.fixture
def scene(server: Server, db: Database, app: str) -> LocalServer:
    """Give the server that is to be crashed, with what the jobs run."""
    if server.local is None:
        pytest.skip("a server in a container cannot be crashed from here")
    with psycopg.connect(db.dsn, autocommit=True) as admin:
        admin.execute(SETUP)
    assert app
    return server.local


def until_done(session: Session, admin: Session) -> None:
    """Wait until nothing is due and all jobs have ended: a tick now and then is all that this may need."""

    def nothing_due() -> bool:
        tick(session)
        return not admin.value(DUE)

    eventually(nothing_due, 60)
    for (name,) in admin.rows("select name from pgbackground.schedule where active"):
        admin.execute("update pgbackground.schedule set active = false where name = %s", [name])

    def nothing_live() -> bool:
        tick(session)
        return not admin.value(UNDONE)

    eventually(nothing_live, 300)


@pytest.mark.timeout(3600)
def test_no_due_time_is_lost_or_doubled(
    scene: LocalServer,
    db: Database,
    app: str,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    target, times = rounds(150, 10_000), rounds(30, 240)
    total: Counter[str] = Counter()
    dealt: Counter[str] = Counter()
    wrong: list[str] = []
    turn = 0
    while total["due times"] < target and not wrong:
        turn += 1
        plan = Plan(Session(db.connect(app)), turn)
        tickers = [Ticker(db, app, random.Random(chance.random())) for _ in range(TICKERS)]  # noqa: S311
        blows = Blows(scene, db, chance, fatal=1, pause=0.2)
        for thread in (*tickers, blows):
            thread.start()
        plan.begin(Session(db.connect()), times)
        blows.quiet.wait(chance.random() * 2)
        blows.quiet.set()
        blows.join(90)
        assert not blows.is_alive()
        dealt += blows.dealt
        recovered(scene, db)
        for ticker in tickers:
            ticker.enough.set()
            ticker.join(60)
            assert not ticker.is_alive(), "a tick hangs"
        db.close()
        admin = recovered(scene, db)
        until_done(Session(db.connect(app)), admin)
        seen, wrong = plan.faults(admin)
        total += seen
        db.close()
    counted(
        f"{total['due times']} due times in {turn} rounds with {TICKERS} tickers, {dict(dealt)};"
        + ",".join(f" {kind} {total[kind]}" for kind in ("lost", "doubled", "never due", "not run", "run twice"))
    )  # fmt: skip
    assert wrong == []
