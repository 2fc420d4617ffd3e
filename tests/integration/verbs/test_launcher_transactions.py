"""A job is autonomous: what its launcher's transaction does before and after does not touch it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_wait import Gate
from tests.integration.session import Session


@pytest.fixture(autouse=True)
def table(launcher: Session) -> None:
    """Make the table that the jobs write to."""
    launcher.execute("create table t (n int4)")


def test_a_job_and_its_registry_row_survive_the_rollback_of_the_launcher(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("begin")
    launcher.execute("insert into t values (1)")
    job = launcher.launch("insert into t values (2)", label="audit")
    launcher.execute("rollback")

    assert launcher.wait(job)
    assert launcher.rows("select n from t") == [(2,)]
    assert observer.outcome(job).state == "stopped"
    assert observer.outcome(job).label == "audit"
    assert launcher.listed() == [(*job, "stopped", "audit")]


def test_a_job_survives_a_rollback_to_a_savepoint(launcher: Session) -> None:
    launcher.execute("begin")
    launcher.execute("savepoint before")
    job = launcher.launch("insert into t values (1) returning n")
    launcher.execute("rollback to before")
    assert launcher.wait(job)
    assert launcher.result(job, "n int4") == [(1,)]
    launcher.execute("commit")
    assert launcher.rows("select n from t") == [(1,)]


def test_a_link_opened_in_a_rolled_back_savepoint_serves_the_next_job(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("begin")
    launcher.execute("savepoint before")
    first = launcher.launch("select 1")
    launcher.wait(first)
    observer.until_idle(first.pid)
    launcher.execute("rollback to before")
    second = launcher.launch("select 2")
    launcher.execute("rollback")
    assert launcher.result(second, "n int4") == [(2,)]
    assert second.pid == first.pid


def test_a_job_runs_while_its_launcher_is_in_an_aborted_transaction(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("begin")
    job = launcher.launch(f"{gate.sql}; insert into t values (1)")
    gate.arrived()
    with pytest.raises(psycopg.errors.DivisionByZero):
        launcher.execute("select 1/0")
    gate.open()
    assert observer.wait(job)
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        launcher.wait(job)
    launcher.execute("rollback")
    assert launcher.outcome(job).state == "stopped"
    assert launcher.rows("select n from t") == [(1,)]


def test_a_job_does_not_see_what_its_launcher_has_not_committed(launcher: Session) -> None:
    launcher.execute("begin")
    launcher.execute("insert into t values (1)")
    job = launcher.launch("select count(*) from t")
    assert launcher.result(job, "n int8") == [(0,)]
    launcher.execute("commit")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_launcher_with_an_old_snapshot_sees_the_end_of_its_job(
    launcher: Session, level: str
) -> None:
    launcher.execute(f"begin isolation level {level}")
    assert launcher.rows("select n from t") == []
    job = launcher.launch("insert into t select generate_series(1, 3) returning n, n::text")
    assert launcher.wait(job)

    assert launcher.outcome(job).state == "stopped"
    assert launcher.outcome(job).row_count == 3
    assert launcher.call("result_info", *job)[0][:4] == (3, "INSERT", True, False)
    assert launcher.result(job, "n int4, t text") == [(1, "1"), (2, "2"), (3, "3")]
    assert launcher.listed() == [(*job, "stopped", None)]
    assert launcher.rows("select n from t") == [], "the snapshot itself must stay old"
    launcher.execute("commit")
    assert launcher.value("select count(*) from t") == 3


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_launcher_with_an_old_snapshot_sees_the_error_of_its_job(
    launcher: Session, level: str
) -> None:
    launcher.execute(f"begin isolation level {level}")
    launcher.rows("select n from t")
    job = launcher.launch("select 1/0")
    assert launcher.wait(job)
    assert launcher.error_info(job)["sqlstate"] == "22012"
    with pytest.raises(psycopg.errors.DivisionByZero):
        launcher.result(job)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_launcher_with_an_old_snapshot_cancels_and_detaches(
    launcher: Session, observer: Session, gate: Gate, level: str
) -> None:
    launcher.execute(f"begin isolation level {level}")
    launcher.rows("select n from t")
    held = launcher.launch(gate.sql)
    gate.arrived()
    launcher.cancel(held)
    assert launcher.wait(held)
    assert launcher.outcome(held).state == "canceled"
    launcher.detach(held)
    assert launcher.listed() == []
    launcher.execute("rollback")
    assert observer.outcome(held).state == "canceled"


def test_another_session_with_an_old_snapshot_reads_rows_of_a_job_it_did_not_launch(
    launcher: Session, observer: Session
) -> None:
    observer.execute("begin isolation level repeatable read")
    observer.rows("select n from t")
    job = launcher.launch("select n, 'x' || n from generate_series(1, 5000) n")
    launcher.wait(job)
    rows = observer.result(job, "n int4, t text")
    assert rows == [(n, f"x{n}") for n in range(1, 5001)]


def test_many_rows_are_read_in_a_serializable_transaction(launcher: Session) -> None:
    launcher.execute("begin isolation level serializable")
    job = launcher.launch("select n from generate_series(1, 50000) n")
    rows = launcher.result(job, "n int4")
    assert rows == [(n,) for n in range(1, 50001)]
    launcher.execute("commit")


def test_launch_and_result_work_in_a_read_only_transaction(launcher: Session) -> None:
    launcher.execute("begin read only")
    job = launcher.launch("insert into t values (1); select n from t")
    assert launcher.result(job, "n int4") == [(1,)]
    assert launcher.outcome(job).state == "stopped"
    assert launcher.listed() == [(*job, "stopped", None)]
    launcher.detach(job)
    assert launcher.listed() == []
    launcher.execute("commit")


def test_cancel_works_in_a_read_only_transaction(launcher: Session, gate: Gate) -> None:
    launcher.execute("begin read only")
    job = launcher.launch(gate.sql)
    gate.arrived()
    launcher.cancel(job)
    assert launcher.wait(job)
    assert launcher.outcome(job).state == "canceled"
    launcher.execute("commit")


def test_a_session_that_reads_only_by_default_launches_jobs_that_read_only(
    connect: Callable[..., Session], observer: Session
) -> None:
    launcher = connect(options="-c default_transaction_read_only=on")
    reading = launcher.launch("select n, n * 2 from generate_series(1, 3000) n")
    assert launcher.result(reading, "a int4, b int4") == [(n, n * 2) for n in range(1, 3001)]
    assert launcher.outcome(reading).state == "stopped"

    writing = launcher.launch("insert into t values (1)")
    assert launcher.finished(writing).sqlstate == "25006"
    assert observer.rows("select n from t") == []


def test_a_job_that_makes_itself_read_only_keeps_its_rows(launcher: Session) -> None:
    job = launcher.launch("set transaction read only; select n from generate_series(1, 2000) n")
    assert launcher.result(job, "n int4") == [(n,) for n in range(1, 2001)]
    assert launcher.outcome(job).state == "stopped"
