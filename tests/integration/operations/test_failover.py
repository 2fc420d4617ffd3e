"""A standby, and what it knows of the jobs when it has become the primary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from tests.fix_db import USER_ROLE
from tests.fix_wait import eventually
from tests.integration.session import Handle, Session
from tools.local_server import LocalServer, ServerError, find_bin
from tools.product import install

DATABASE = "postgres"
USER = "app"


class Pair:
    """A primary and its standby, two servers of their own."""

    def __init__(self, primary: LocalServer, standby: LocalServer) -> None:
        self.primary = primary
        self.standby = standby
        self._connections = ExitStack()

    def connect(self, server: LocalServer, user: str = USER) -> Session:
        """Open a session on one of them."""
        connection = psycopg.connect(server.dsn(DATABASE, user), autocommit=True)
        self._connections.callback(connection.close)
        return Session(connection)

    def close(self) -> None:
        """End all sessions."""
        self._connections.close()

    def until_replayed(self) -> None:
        """Wait until the standby has all that the primary has written."""
        primary = self.connect(self.primary, "postgres")
        standby = self.connect(self.standby, "postgres")
        # What was committed asynchronously is on its way before this comes back.
        primary.execute("drop table if exists public.marker; create table public.marker ()")
        # Not the place of the next record: at the beginning of a page that is behind the page's header.
        position = primary.value("select pg_current_wal_flush_lsn()")
        eventually(lambda: standby.value("select pg_last_wal_replay_lsn() >= %s", [position]))

    def fail_over(self) -> None:
        """Lose the primary and promote the standby."""
        self.primary.crash()
        self.standby._pg_ctl("promote")


@contextmanager
def following() -> Iterator[Pair]:
    """Make a primary with the product installed, and a standby that follows it."""
    try:
        find_bin()
    except ServerError as error:
        pytest.skip(str(error))
    standby = LocalServer()
    with LocalServer() as primary:
        install(primary.dsn(DATABASE))
        with psycopg.connect(primary.dsn(DATABASE), autocommit=True) as admin:
            admin.execute(f"create role {USER} login in role {USER_ROLE}")
            admin.execute(f"grant create on schema public to {USER}")
        standby._make_home()
        made = Pair(primary, standby)
        try:
            standby._run(
                "pg_basebackup",
                *("--pgdata", str(standby.data), "--host", str(primary.socket), "--username"),
                *("postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            )
            standby.start()
            yield made
        finally:
            made.close()
            standby.stop()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Give the two servers, for tests that leave both as they are."""
    with following() as made:
        yield made


@pytest.fixture
def doomed_pair() -> Iterator[Pair]:
    """Give two servers of which the primary will be lost."""
    with following() as made:
        yield made


def test_handles_rows_errors_and_the_queue_are_on_the_new_primary(doomed_pair: Pair) -> None:
    launcher = doomed_pair.connect(doomed_pair.primary)
    launcher.execute("create table done (n int4)")
    succeeded = launcher.launch("select i, 'row ' || i from generate_series(1, 3) i", label="rows")
    failed = launcher.launch("select 1/0")
    for job in (succeeded, failed):
        launcher.wait(job)
    launcher.execute("set pg_background.max_workers = 1")
    launcher.execute("set pg_background.when_full = 'queue'")
    running = launcher.launch("insert into done values (1); select pg_sleep(600)")
    queued = [launcher.launch(f"insert into done values ({number})") for number in (2, 3)]
    assert [job.pid for job in queued] == [0, 0]
    doomed_pair.until_replayed()

    standby = doomed_pair.connect(doomed_pair.standby)
    assert standby.outcome(succeeded).state == "stopped"
    assert standby.result(succeeded, "i int4, t text") == [(i, f"row {i}") for i in (1, 2, 3)]
    assert [standby.outcome(job).state for job in (running, *queued)] == [
        "running",
        *["queued"] * 2,
    ]

    doomed_pair.fail_over()
    observer = doomed_pair.connect(doomed_pair.standby)
    assert observer.result(succeeded, "i int4, t text") == [(i, f"row {i}") for i in (1, 2, 3)]
    assert observer.job(succeeded)["label"] == "rows"
    with pytest.raises(psycopg.errors.DivisionByZero):
        observer.result(failed)
    assert (observer.outcome(running).state, observer.outcome(running).sqlstate) == (
        "error",
        "57P01",
    )
    for job in queued:
        assert observer.wait(job, 20000)
        assert observer.outcome(job).state == "stopped"
    assert observer.rows("select n from done order by n") == [(2,), (3,)]
    assert observer.result(observer.launch("select 7")) == [("7",)]


def test_a_standby_launches_nothing_and_says_so(pair: Pair) -> None:
    standby = pair.connect(pair.standby)
    for verb in ("launch", "submit", "run"):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="standby"):
            standby.call(verb, "select 1")


def test_a_standby_shows_jobs_lists_and_metrics(pair: Pair) -> None:
    launcher = pair.connect(pair.primary)
    job = launcher.launch("select 1", label="seen")
    launcher.wait(job)
    pair.until_replayed()
    standby = pair.connect(pair.standby)
    assert standby.job(job)["label"] == "seen"
    assert standby.listed() == []
    assert standby.value(
        "select value from background.pg_background_metrics"
        " where name = 'pg_background_jobs' and labels ->> 'state' = 'stopped'"
    )
    assert standby.rows(
        "select * from background.pg_background_result_json(%s, %s)", tuple(job)
    ) == [({"?column?": 1},)]


def test_a_wait_on_a_standby_ends_when_the_job_has(pair: Pair) -> None:
    launcher = pair.connect(pair.primary)
    holder = pair.connect(pair.primary)
    holder.execute("select pg_advisory_lock(1)")
    job = launcher.launch("select pg_advisory_xact_lock(1)")
    pair.until_replayed()
    standby = pair.connect(pair.standby)
    assert not standby.wait(job, 300)
    holder.execute("select pg_advisory_unlock(1)")
    assert standby.wait(job, 20000)
    assert standby.outcome(job).state == "stopped"


def test_an_unknown_handle_is_unknown_on_a_standby_too(pair: Pair) -> None:
    standby = pair.connect(pair.standby)
    with pytest.raises(psycopg.errors.UndefinedObject):
        standby.wait(Handle(1, 1))


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_a_standby_neither_starts_queued_jobs_nor_ends_overdue_ones(pair: Pair, level: str) -> None:
    launcher = pair.connect(pair.primary)
    admin = pair.connect(pair.primary, "postgres")
    admin.execute("insert into background.pg_background_limits values ('database', null, 1)")
    launcher.execute(
        "set pg_background.when_full = 'queue'; set pg_background.worker_timeout = 1500"
    )
    running = launcher.launch(
        "do $$ begin loop begin perform pg_sleep(600); exception when query_canceled then null; end; end loop; end $$"
    )
    queued = launcher.launch("select 1")
    assert queued.pid == 0
    admin.execute("delete from background.pg_background_limits")
    overdue = "select pgbackground.is_overdue(j) from pgbackground.job j where cookie = %s"
    eventually(lambda: admin.value(overdue, [running.cookie]))
    pair.until_replayed()
    standby = pair.connect(pair.standby)
    standby.execute(f"set default_transaction_isolation = '{level}'")
    links = pair.connect(pair.standby, "postgres")
    for job in (running, queued):
        assert standby.wait(job, 700) is False
    count = "select count(*) from pg_stat_activity where application_name like 'pg_background%'"
    assert links.value(count) <= (0 if level == "read committed" else 1)
    assert standby.rows("select from background.pg_background_check() where item = 'queue' and ok")
    launcher.wait(running)
    launcher.wait(queued)
    assert launcher.outcome(queued).state == "stopped"
    assert launcher.job(running)["timed_out"]
