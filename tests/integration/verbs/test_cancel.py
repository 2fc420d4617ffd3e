"""cancel stops the job it names, and never another one."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_wait import Gate, eventually
from tests.integration.session import Session

STUBBORN = """
do $$
begin
    loop
        begin
            perform pg_sleep(1000);
        exception when query_canceled then
            raise log 'not now';
        end;
    end loop;
end
$$"""


def test_a_running_job_is_canceled_and_nothing_of_it_stays(launcher: Session, gate: Gate) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch(f"insert into t values (1); {gate.sql}; insert into t values (2)")
    gate.arrived()
    launcher.cancel(job)
    assert launcher.wait(job)
    outcome = launcher.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("canceled", "57014")
    assert (outcome.completed, outcome.has_error) == (True, True)
    assert (outcome.row_count, outcome.command_tag) == (0, "")
    assert launcher.rows("select n from t") == []
    with pytest.raises(psycopg.errors.QueryCanceled, match="background worker: "):
        launcher.result(job)


def test_a_cancel_of_an_ended_job_changes_nothing(launcher: Session) -> None:
    stopped = launcher.launch("select 1")
    failed = launcher.launch("select 1 / 0")
    before = [launcher.finished(job) for job in (stopped, failed)]
    for job in (stopped, failed):
        launcher.cancel(job)
        launcher.cancel(job, 100)
        assert launcher.job(job)["cancel_requested"] is False
    assert [launcher.outcome(job) for job in (stopped, failed)] == before
    assert launcher.result(stopped, "n int4") == [(1,)]


def test_a_second_cancel_changes_nothing(launcher: Session, observer: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    launcher.cancel(job)
    observer.cancel(job)
    launcher.cancel(job)
    assert launcher.finished(job).state == "canceled"
    launcher.cancel(job)
    assert observer.outcome(job).state == "canceled"


def test_a_cancel_holds_although_its_transaction_is_rolled_back(
    launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    launcher.execute("begin")
    launcher.cancel(job)
    launcher.execute("rollback")
    assert launcher.finished(job).state == "canceled"


def test_a_cancel_from_the_transaction_that_launched_the_job_ends_it(
    launcher: Session, gate: Gate
) -> None:
    launcher.execute("begin")
    job = launcher.launch(gate.sql)
    launcher.cancel(job)
    assert launcher.wait(job)
    assert launcher.outcome(job).state == "canceled"
    launcher.execute("commit")


def test_a_worker_that_was_canceled_serves_no_other_job(launcher: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    launcher.cancel(job)
    launcher.wait(job)
    following = [launcher.launch("select pg_sleep(0.01)") for _ in range(3)]
    for other in following:
        assert launcher.finished(other).state == "stopped"
        assert other.pid != job.pid


def test_a_job_that_catches_the_cancel_goes_on_until_its_grace_is_over(
    launcher: Session, observer: Session
) -> None:
    job = launcher.launch(STUBBORN)
    eventually(lambda: (observer.backend(job.pid) or {})["wait_event"] == "PgSleep")
    launcher.cancel(job)
    assert launcher.wait(job, 100) is False
    launcher.cancel(job, 100)
    assert launcher.wait(job)
    outcome = launcher.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("canceled", "57014")
    observer.until_gone(job.pid)


def test_a_job_that_stops_within_its_grace_keeps_its_worker_alive_until_it_has_recorded(
    launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    launcher.cancel(job, 60000)
    assert launcher.outcome(job).state == "canceled"
    assert launcher.error_info(job)["context"], "recorded by the worker itself"


def test_a_job_that_catches_the_cancel_and_then_succeeds_is_canceled_all_the_same(
    launcher: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    waiting = gate.sql.replace("select", "perform")
    job = launcher.launch(f"""
        do $$ begin {waiting}; exception when query_canceled then null; end $$;
        insert into t values (1)""")
    gate.arrived()
    launcher.cancel(job)
    assert launcher.wait(job)
    outcome = launcher.outcome(job)
    assert outcome.state == "canceled"
    assert launcher.rows("select n from t") == [], "canceled means that nothing took effect"


def test_a_negative_or_null_grace_is_none(launcher: Session, gate: Gate) -> None:
    first = launcher.launch(gate.sql)
    gate.arrived()
    launcher.cancel(first, -5)
    assert launcher.finished(first).state == "canceled"


def test_no_cancel_reaches_the_next_job_of_a_link_in_reuse(
    launcher: Session, observer: Session
) -> None:
    """Cancels are thrown at jobs just when they end; the jobs that follow on the link must live."""
    launcher.execute("create table t (n int4)")
    observer.execute("select background.pg_background_outcome(1, 1)")
    canceled = stopped = 0
    delays = random.Random(15)  # noqa: S311
    for turn in range(300):
        job = launcher.launch(f"select pg_sleep({delays.uniform(0, 0.002)})")
        other = observer.connection.pgconn
        other.send_query(
            f"select background.pg_background_cancel({job.pid}, {job.cookie})".encode()
        )
        # Launched while the cancel is on its way, on the same link whenever that is free again.
        assert launcher.wait(job, 10000), f"turn {turn}: neither canceled nor ended"
        victim = launcher.launch(f"insert into t values ({turn}); select pg_sleep(0.0005)")
        fate = launcher.finished(victim)
        assert (fate.state, fate.sqlstate) == ("stopped", None), f"turn {turn}"
        while (answer := other.get_result()) is not None:
            assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, answer.error_message
        state = launcher.outcome(job).state
        canceled += state == "canceled"
        stopped += state == "stopped"
    assert canceled + stopped == 300
    assert canceled > 0, "no cancel came in time: the test tests nothing"
    assert launcher.value("select count(*) from t") == 300


def test_many_sessions_cancel_one_job_at_once(
    launcher: Session, connect: Callable[..., Session], gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    others = [connect() for _ in range(6)]
    for other in others:
        other.connection.pgconn.send_query(
            f"select background.pg_background_cancel({job.pid}, {job.cookie})".encode()
        )
    for other in others:
        while (answer := other.connection.pgconn.get_result()) is not None:
            assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, answer.error_message
    assert launcher.finished(job).state == "canceled"


def test_statement_timeout_ends_a_wait_and_not_the_job(launcher: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    launcher.execute("set statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        launcher.wait(job)
    launcher.execute("reset statement_timeout")
    assert launcher.outcome(job).state == "running"
    gate.open()
    assert launcher.finished(job).state == "stopped"


def test_a_canceled_wait_ends_at_once_and_the_job_goes_on(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    waiting = launcher.connection.pgconn
    waiting.send_query(f"select background.pg_background_wait({job.pid}, {job.cookie})".encode())
    eventually(lambda: admin.value("select pg_blocking_pids(%s)", [launcher.pid]) == [job.pid])
    assert admin.value("select pg_cancel_backend(%s)", [launcher.pid])
    answer = waiting.get_result()
    assert answer is not None
    assert answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
    assert waiting.get_result() is None
    gate.open()
    assert launcher.finished(job).state == "stopped"


def test_lock_timeout_of_the_caller_ends_a_wait(launcher: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    launcher.execute("set lock_timeout = '80ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        launcher.wait(job)
    assert launcher.value("show lock_timeout") == "80ms"
    gate.open()


def test_a_signal_that_comes_late_does_not_hit_the_next_launch(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    observer.cancel(job)
    assert launcher.wait(job, 10000)
    observer.until_idle(job.pid)
    # The next launch asks the same worker, which is kept here until the signal has come.
    admin.execute("begin; lock table pgbackground.request in access exclusive mode")
    with ThreadPoolExecutor() as pool:
        launched = pool.submit(launcher.launch, "select 7")
        waits = "select from pg_locks where pid = %s and not granted"
        eventually(lambda: admin.rows(waits, [job.pid]))
        admin.execute("select pg_cancel_backend(%s)", [job.pid])
        eventually(lambda: not admin.rows(waits, [job.pid]))
        admin.execute("commit")
        assert launcher.result(launched.result(), "n int4") == [(7,)]
