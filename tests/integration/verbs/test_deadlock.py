"""A job that needs what its waiting launcher holds is found out; nobody hangs."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_wait import Gate
from tests.integration.session import Session


@pytest.fixture(autouse=True)
def table(launcher: Session) -> None:
    """Make the table that launcher and job dispute."""
    launcher.execute("create table t (n int4 primary key, m int4)")
    launcher.execute("insert into t values (1, 0)")


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("update t set m = 1", "update t set m = 2"),
        ("select from t for share", "delete from t"),
        ("lock table t", "select count(*) from t"),
        ("insert into t values (2, 2)", "insert into t values (2, 3)"),
        ("select pg_advisory_xact_lock(77)", "select pg_advisory_xact_lock(77)"),
        ("select from t", "alter table t add c int4"),
    ],
    ids=["row", "share", "table", "unique", "advisory", "ddl"],
)
@pytest.mark.parametrize("verb", ["wait", "result"])
def test_waiting_for_a_job_that_needs_the_launcher_s_lock_is_a_deadlock(
    launcher: Session, observer: Session, held: str, wanted: str, verb: str
) -> None:
    launcher.execute("begin")
    launcher.execute(held)
    job = launcher.launch(wanted)
    waiting = launcher.wait if verb == "wait" else launcher.result
    with pytest.raises(psycopg.errors.DeadlockDetected):
        waiting(job)
    launcher.execute("rollback")
    assert observer.finished(job).state == "stopped", "the job goes on when its launcher lets go"


def test_a_deadlock_through_a_third_session_is_found(launcher: Session, observer: Session) -> None:
    launcher.execute("begin")
    launcher.execute("select pg_advisory_xact_lock(78)")
    observer.execute("begin")
    observer.execute("select pg_advisory_xact_lock(79)")
    observer.connection.pgconn.send_query(b"select pg_advisory_xact_lock(78)")
    job = launcher.launch("select pg_advisory_xact_lock(79)")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        launcher.wait(job)
    launcher.execute("rollback")
    while observer.connection.pgconn.get_result() is not None:
        pass
    observer.execute("rollback")
    assert launcher.finished(job).state == "stopped"


def test_a_job_that_waits_for_somebody_else_is_no_deadlock(launcher: Session, gate: Gate) -> None:
    launcher.execute("begin")
    launcher.execute("update t set m = 1")
    job = launcher.launch(gate.sql)
    gate.arrived()
    assert launcher.wait(job, 700) is False
    gate.open()
    assert launcher.wait(job)
    launcher.execute("commit")


@pytest.mark.parametrize(
    "text",
    [
        "create index concurrently i on t (m)",
        "reindex index concurrently t_pkey",
        "reindex table concurrently t",
    ],
)
def test_wait_for_a_concurrent_index_is_a_deadlock_and_await_is_not(
    launcher: Session, text: str
) -> None:
    job = launcher.launch(text)
    with pytest.raises(psycopg.errors.DeadlockDetected) as raised:
        launcher.wait(job)
    assert "pg_background_await" in (raised.value.diag.message_hint or "")
    launcher.await_(job)
    outcome = launcher.outcome(job)
    assert (outcome.state, outcome.error_message) == ("stopped", None)
    assert launcher.value(
        "select bool_and(indisvalid) from pg_index where indrelid = 't'::regclass"
    )


def test_a_concurrent_index_that_needs_the_launcher_s_own_transaction_is_a_deadlock(
    launcher: Session,
) -> None:
    launcher.execute("begin")
    launcher.execute("update t set m = 1")
    job = launcher.launch("create index concurrently i on t (m)")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        launcher.wait(job)
    launcher.execute("rollback")
    launcher.await_(job)
    assert launcher.outcome(job).state == "stopped"


def test_await_gives_up_at_its_timeout_and_the_job_goes_on(launcher: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    with pytest.raises(psycopg.errors.QueryCanceled):
        launcher.await_(job, 150)
    gate.open()
    launcher.await_(job, 60000)
    assert launcher.outcome(job).state == "stopped"


def test_await_inside_a_transaction_block_is_refused(launcher: Session) -> None:
    job = launcher.launch("select 1")
    launcher.execute("begin")
    with pytest.raises(psycopg.errors.InvalidTransactionTermination):
        launcher.await_(job)
    launcher.execute("rollback")


def test_await_works_for_a_job_of_another_session(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    gate.open()
    observer.await_(job)
    assert observer.outcome(job).state == "stopped"
