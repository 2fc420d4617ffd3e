"""A worker that is killed, no room in the lock table, an index whose function launches, and what the log says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.fix_wait import eventually
from tests.integration.session import Session
from tools.local_server import LocalServer, Setting
from tools.product import install


@pytest.fixture(scope="module")
def small() -> Iterator[LocalServer]:
    """Give a server with a small lock table and an eager autovacuum."""
    settings: dict[str, Setting] = {
        "max_connections": 20,
        "max_locks_per_transaction": 10,
        "autovacuum_naptime": "1s",
        "log_autovacuum_min_duration": "-1",
    }
    with LocalServer(settings=settings) as server:
        install(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute("create role app login in role pgbackground_role")
            admin.execute("grant create on schema public to app")
        yield server


@pytest.fixture
def enter(small: LocalServer) -> Iterator[Callable[[], Session]]:
    """Give a function that opens sessions of a plain role; they end with the test."""
    with ExitStack() as stack:

        def opened() -> Session:
            connection = psycopg.connect(small.dsn(user="app"), autocommit=True)
            stack.callback(connection.close)
            return Session(connection)

        yield opened


def log_of(server: LocalServer, pid: int) -> list[str]:
    """What a process has written into the log."""
    lines = [line for line in server.log.read_text().splitlines() if f" [{pid}] " in line]
    return [line.split(" pg_background ", 1)[-1] for line in lines]


def test_a_worker_that_is_killed_leaves_a_true_outcome_and_the_next_session_works(
    enter: Callable[[], Session],
) -> None:
    launcher = enter()
    launcher.execute("create table killed (n int4)")
    done = launcher.launch("insert into killed values (0)")
    launcher.wait(done)
    job = launcher.launch("insert into killed values (1); select pg_sleep(600)")
    eventually(lambda: (launcher.backend(job.pid) or {}).get("wait_event") == "PgSleep")
    os.kill(job.pid, signal.SIGKILL)
    # The server ends every session when a process of it was killed, and recovers.
    with pytest.raises(psycopg.OperationalError):
        launcher.wait(job)

    def again() -> Session | None:
        try:
            return enter()
        except psycopg.OperationalError:
            return None

    after = eventually(again, 30)
    assert after is not None
    assert after.outcome(done).state == "stopped"
    assert after.value("select count(*) from killed") == 1
    # The registration may be lost with the crash, as everything that the job did.
    assert after.outcome(job).sqlstate in ("57P01", None)
    assert after.finished(after.launch("select 1")).state == "stopped"


def test_no_room_in_the_lock_table_is_the_jobs_error_and_the_next_one_runs(
    enter: Callable[[], Session],
) -> None:
    launcher = enter()
    job = launcher.launch(
        "do $$ begin for i in 1 .. 100000 loop perform pg_advisory_xact_lock(i); end loop; end $$"
    )
    assert launcher.finished(job).sqlstate == "53200"
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_while_somebody_else_fills_the_lock_table_launches_say_so_and_nothing_hangs(
    enter: Callable[[], Session],
) -> None:
    launcher, greedy = enter(), enter()
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"
    greedy.execute("begin")
    with pytest.raises(psycopg.errors.OutOfMemory):
        greedy.execute(
            "do $$ begin for i in 1 .. 100000 loop perform pg_advisory_lock(i); end loop; end $$"
        )
    with pytest.raises(psycopg.Error) as refused:
        launcher.launch("select 1")
    assert refused.value.sqlstate in ("53200", "08001", "08006")
    greedy.close()

    def works_again() -> bool:
        # The locks go when the other process has gone.
        try:
            return launcher.finished(launcher.launch("select 1")).state == "stopped"
        except psycopg.Error:
            return False

    eventually(works_again)


def test_autovacuum_of_an_index_on_a_function_that_launches_runs_its_jobs_as_the_owner(
    enter: Callable[[], Session],
) -> None:
    owner = enter()
    owner.execute("create table ran (who text)")
    owner.execute(
        "create function noted(n int4) returns int4 language plpgsql immutable as $f$ begin"
        "   perform background.pg_background_launch("
        "     'insert into public.ran values (session_user || current_user)');"
        "   return n; end $f$"
    )
    owner.execute("create table indexed (n int4) with (autovacuum_analyze_threshold = 1)")
    owner.execute("create index on indexed (noted(n))")
    owner.execute("insert into indexed select 1")
    before = "select count(*) from ran"
    eventually(lambda: owner.value(before) >= 1)
    owner.execute("truncate ran")
    owner.execute("alter table indexed set (autovacuum_analyze_scale_factor = 0)")
    owner.execute("insert into indexed select 1 from generate_series(1, 5)")
    eventually(
        lambda: owner.value(
            "select autoanalyze_count from pg_stat_user_tables where relname = 'indexed'"
        ),
        30,
    )
    eventually(lambda: owner.value(before) >= 6, 30)
    assert owner.rows("select distinct who from ran") == [("appapp",)]
    owner.execute("drop table indexed")


def test_the_log_gets_two_lines_of_a_job_that_outlives_its_launcher_and_no_others(
    small: LocalServer,
    enter: Callable[[], Session],
) -> None:
    observer, launcher = enter(), enter()
    job = launcher.launch("select pg_sleep(0.5)")
    launcher.close()
    observer.wait(job)
    observer.until_gone(job.pid)
    assert log_of(small, job.pid) == [
        "LOG:  could not send data to client: Broken pipe",
        "FATAL:  connection to client lost",
    ]


def test_a_worker_that_idles_when_its_launcher_leaves_says_at_most_one_line(
    small: LocalServer,
    enter: Callable[[], Session],
) -> None:
    observer, launcher = enter(), enter()
    job = launcher.launch("select 1")
    launcher.wait(job)
    launcher.until_idle(job.pid)
    launcher.close()
    observer.until_gone(job.pid)
    reset = "LOG:  could not receive data from client: Connection reset by peer"
    assert log_of(small, job.pid) in ([], [reset])
