"""A worker that is lost between taking a job from the queue and beginning with it loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.fix_db import Database
from tests.fix_wait import Gate, eventually
from tests.integration.queues import WAITS, limit, states, use_queue
from tests.integration.session import Handle, Session
from tools.local_server import LocalServer
from tools.product import install

# Statement triggers fire before a row is locked. A worker that takes a job up changes its row, and so does one that
# begins with it: only then the row is its own already. Top-level jobs begin with their executor.
HOLD = """
create function public.hold() returns trigger language plpgsql as $$
begin
    if exists (select from pgbackground.job where pid = pg_backend_pid() and begun is false)
       or current_query() like '%_executor_starts%' then
        perform pg_advisory_xact_lock_shared(4711);
    end if;
    return null;
end $$;
create trigger hold before update on pgbackground.job for each statement execute function public.hold();
"""


class Hold:
    """Holds workers back where they have taken a job from the queue and are about to begin."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._session = Session(connection)
        self._session.execute("select pg_advisory_lock(4711)")
        connection.execute(sql.SQL(HOLD))

    def arrived(self) -> int:
        """Wait for a process that is held, and return its pid."""
        waits = (
            "select pid from pg_locks where locktype = 'advisory' and objid = 4711 and not granted"
        )
        found: int = eventually(lambda: self._session.rows(waits))[0][0]
        return found

    def open(self) -> None:
        """Let everybody begin."""
        self._session.execute("select pg_advisory_unlock_all()")


@pytest.fixture
def hold(db: Database) -> Hold:
    """Give a closed hold."""
    return Hold(db.connect(application_name="hold"))


@pytest.fixture
def kill(admin: Session) -> Callable[[int], None]:
    """Give a function that ends a backend and returns when it is gone."""

    def killed(pid: int) -> None:
        assert admin.value("select pg_terminate_backend(%s, 20000)", [pid])

    return killed


@pytest.fixture
def taken(launcher: Session, admin: Session, gate: Gate, hold: Hold) -> tuple[Handle, int]:
    """Give a queued job that a worker has taken up in place, and that worker's pid."""
    launcher.execute("create table t (n int4)")
    use_queue(launcher, 1)
    first = launcher.launch(gate.sql)
    gate.arrived()
    job = launcher.launch("insert into t values (1)")
    assert job.pid == 0
    gate.open()
    worker = hold.arrived()
    assert worker == first.pid
    assert states(admin, job) == ["running"]
    return job, worker


def assert_ran_once(session: Session, job: Handle) -> None:
    outcome = session.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("stopped", None)
    assert session.rows("select n from t") == [(1,)]


READS = {
    **WAITS,
    "result": "select * from background.pg_background_result({0}, {1}) as t(answer text)",
}


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize("which", ["queued", "running"])
def test_the_job_goes_back_and_runs_for_whoever_waits_with_any_of_its_handles(
    launcher: Session,
    observer: Session,
    hold: Hold,
    kill: Callable[[int], None],
    taken: tuple[Handle, int],
    verb: str,
    which: str,
) -> None:
    job, worker = taken
    handle = job if which == "queued" else Handle(worker, job.cookie)
    assert observer.outcome(handle).pid == worker
    kill(worker)
    told = observer.outcome(handle)
    assert (told.state, told.pid, told.sqlstate, told.completed) == ("queued", 0, None, False)
    assert observer.job(job)["state"] == "queued"
    hold.open()
    observer.execute("set statement_timeout = '20s'")
    observer.execute(READS[verb].format(*handle))
    assert_ran_once(launcher, job)
    assert observer.outcome(handle).state == "stopped"
    assert observer.outcome(handle).pid not in (0, worker)


@pytest.mark.parametrize("which", ["queued", "running"])
def test_whoever_waits_already_goes_on_waiting(
    launcher: Session,
    observer: Session,
    admin: Session,
    hold: Hold,
    kill: Callable[[int], None],
    taken: tuple[Handle, int],
    which: str,
) -> None:
    job, worker = taken
    handle = job if which == "queued" else Handle(worker, job.cookie)
    observer.connection.pgconn.send_query(WAITS["wait"].format(*handle).encode())
    eventually(lambda: admin.value("select pg_blocking_pids(%s)", [observer.pid]) == [worker])
    kill(worker)
    hold.open()
    answer = observer.connection.pgconn.get_result()
    assert answer is not None
    assert answer.get_value(0, 0) == b"t", answer.error_message
    assert observer.connection.pgconn.get_result() is None
    assert_ran_once(launcher, job)


@pytest.mark.parametrize("who", ["launcher", "observer"])
def test_the_job_keeps_its_place_before_those_launched_after_it(
    launcher: Session,
    observer: Session,
    admin: Session,
    hold: Hold,
    kill: Callable[[int], None],
    taken: tuple[Handle, int],
    who: str,
) -> None:
    job, worker = taken
    limit(admin, "database", 1)
    second = launcher.launch("insert into t select count(*) + 1 from t")
    kill(worker)
    hold.open()
    session = {"launcher": launcher, "observer": observer}[who]
    use_queue(session)
    last = session.launch("insert into t select count(*) + 1 from t")
    assert last.pid == 0
    for each in (job, second, last):
        assert admin.until_ended(each).state == "stopped"
    rows = admin.rows("select n from t order by n")
    assert rows == [(n,) for n in range(1, 4)]
    starts = "select cookie from background.pg_background_jobs where cookie = any (%s) order by started_at"
    order = [job.cookie, second.cookie, *([] if last is second else [last.cookie])]
    assert [row[0] for row in admin.rows(starts, [order])] == order


def test_a_cancel_before_the_job_begins_means_that_it_never_runs(
    launcher: Session, admin: Session, hold: Hold, taken: tuple[Handle, int]
) -> None:
    job, _ = taken
    launcher.cancel(job)
    hold.open()
    assert launcher.wait(job)
    outcome = launcher.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("canceled", "57014")
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"
    assert states(admin, job) == ["canceled"]
    assert launcher.rows("select n from t") == []


def test_a_cancel_after_the_worker_was_lost_means_that_the_job_never_runs(
    launcher: Session, hold: Hold, kill: Callable[[int], None], taken: tuple[Handle, int]
) -> None:
    job, worker = taken
    kill(worker)
    launcher.cancel(job)
    hold.open()
    assert launcher.wait(job)
    assert launcher.outcome(job).state == "canceled"
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"
    assert launcher.rows("select n from t") == []


def test_a_worker_that_is_lost_after_the_job_has_begun_is_told_as_ever(
    launcher: Session, hold: Hold, kill: Callable[[int], None], gate: Gate
) -> None:
    hold.open()
    use_queue(launcher, 1)
    first = launcher.launch(gate.sql)
    gate.arrived()
    job = launcher.launch(gate.sql)
    admin_pid = first.pid
    launcher.cancel(first)
    worker = eventually(lambda: [pid for pid in gate.arrived() if pid != admin_pid])[0]
    kill(worker)
    assert launcher.wait(job)
    assert launcher.outcome(job).sqlstate == "57P01"


@pytest.mark.parametrize("text", ["insert into t values (1)", "vacuum t"])
def test_a_job_that_was_started_over_a_link_goes_back_too(
    launcher: Session,
    admin: Session,
    hold: Hold,
    kill: Callable[[int], None],
    gate: Gate,
    text: str,
) -> None:
    launcher.execute("create table t (n int4); set pg_background.worker_timeout = '60s'")
    use_queue(launcher, 1)
    launcher.launch(gate.sql)
    gate.arrived()
    job = launcher.launch(text)
    gate.open()
    held = hold.arrived()
    worker = admin.job(job)["pid"]
    kill(worker)
    if held != worker:
        kill(held)
    hold.open()
    assert launcher.outcome(job).state == "queued"
    assert launcher.wait(job, 20000)
    assert launcher.outcome(job).state == "stopped"
    assert launcher.rows("select n from t") == ([(1,)] if text != "vacuum t" else [])


def test_a_job_that_loses_one_worker_after_the_other_stays_in_the_queue_and_runs_in_the_end(
    launcher: Session,
    hold: Hold,
    kill: Callable[[int], None],
    taken: tuple[Handle, int],
) -> None:
    job, worker = taken
    lost = [worker]
    kill(worker)
    for _ in range(20):
        assert launcher.outcome(job).state == "queued"
        launcher.wait(job, 1)
        lost.append(hold.arrived())
        kill(lost[-1])
    hold.open()
    assert launcher.wait(job, 20_000)
    assert_ran_once(launcher, job)
    assert {launcher.outcome(Handle(pid, job.cookie)).state for pid in lost} == {"stopped"}


def test_a_crash_of_the_server_before_the_job_begins_loses_nothing() -> None:
    with LocalServer(durable=True) as server, ExitStack() as connections:

        def connect(user: str = "postgres") -> psycopg.Connection[Any]:
            dsn = server.dsn(user=user)
            return connections.enter_context(closing(psycopg.connect(dsn, autocommit=True)))

        admin = connect()
        admin.execute("create role app login")
        install(server.dsn())
        admin.execute("grant pgbackground_role to app; grant create on schema public to app")
        gate, hold, launcher = Gate(connect()), Hold(connect()), Session(connect("app"))
        launcher.execute("create table t (n int4)")
        use_queue(launcher, 1)
        launcher.launch(gate.sql)
        gate.arrived()
        job = launcher.launch("insert into t values (1)")
        gate.open()
        worker = hold.arrived()
        # That the job was taken up may be forgotten in a crash; here it is not.
        admin.execute("checkpoint")
        server.crash()
        server.start()
        taken_by = connect().execute("select pid from pgbackground.job where state = 'running'")
        assert taken_by.fetchall() == [(worker,)]
        session = Session(connect("app"))
        assert session.outcome(job).state == "queued"
        assert session.wait(Handle(worker, job.cookie), 20000)
        assert_ran_once(session, job)
