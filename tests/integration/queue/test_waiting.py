"""Waiting for queued jobs: their handles stay valid from launch to end, for every verb and session."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import WAITS, states, until_running, use_queue
from tests.integration.session import Handle, Session, nothing_known


@pytest.fixture(autouse=True)
def full(launcher: Session, gate: Gate) -> Handle:
    """Fill the launcher's house, which has one place, with a job that waits at the gate."""
    use_queue(launcher, 1)
    job = launcher.launch(gate.sql, label="first")
    gate.arrived()
    return job


def begin(session: Session, statement: str) -> None:
    """Send a statement that will wait."""
    session.connection.pgconn.send_query(statement.encode())


def answer(session: Session) -> bytes | None:
    """Read the first value of what a statement sent by begin() gave."""
    result = session.connection.pgconn.get_result()
    assert result is not None
    assert result.status in (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK), (
        result.error_message
    )
    value = result.get_value(0, 0) if result.ntuples else None
    assert session.connection.pgconn.get_result() is None
    return value


def is_waiting(admin: Session, session: Session) -> bool:
    """Is this session at work on a statement, and asleep in it?"""
    backend = admin.backend(session.pid)
    return backend is not None and backend["state"] == "active" and bool(backend["wait_event"])


READS = {
    **WAITS,
    "result": "select n from background.pg_background_result({0}, {1}) as t(n int4)",
    "result_json": "select * from background.pg_background_result_json({0}, {1})",
}


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["launcher", "another session"])
def test_every_verb_that_waits_waits_for_a_queued_job(
    launcher: Session, observer: Session, admin: Session, gate: Gate, verb: str, elsewhere: bool
) -> None:
    job = launcher.launch("select 7")
    assert job.pid == 0
    session = observer if elsewhere else launcher
    begin(session, READS[verb].format(*job))
    eventually(lambda: is_waiting(admin, session))
    assert states(admin, job) == ["queued"]
    gate.open()
    got = answer(session)
    if verb in ("result", "result_json"):
        assert got in (b"7", b'{"?column?": 7}')
    elif verb == "wait_any":
        assert got == str(job.cookie).encode()
    else:
        assert got == {"wait": b"t", "await": None, "drain": b"stopped"}[verb]
    assert states(admin, job) == ["stopped"]


def test_the_wait_for_a_queued_job_can_run_out_of_time(launcher: Session, gate: Gate) -> None:
    job = launcher.launch("select 7")
    handles = f"array[(0, {job.cookie})::background.pg_background_handle]"
    assert launcher.wait(job, 60) is False
    assert (
        launcher.value(f"select cookie from background.pg_background_wait_any({handles}, 60)")
        is None
    )
    drained = launcher.rows(f"select state from background.pg_background_drain({handles}, 60)")
    assert drained == [("queued",)]
    with pytest.raises(psycopg.errors.QueryCanceled):
        launcher.await_(job, 60)
    assert launcher.outcome(job).state == "queued"
    gate.open()
    assert launcher.wait(job)


def test_a_wait_that_ran_out_of_time_may_be_canceled_and_repeated(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    job = launcher.launch("select 7")
    launcher.execute("set statement_timeout = 100")
    with pytest.raises(psycopg.errors.QueryCanceled):
        launcher.wait(job)
    launcher.execute("reset statement_timeout")
    assert states(admin, job) == ["queued"]
    gate.open()
    assert launcher.result(job, "n int4") == [(7,)]


@pytest.mark.parametrize("whose", ["launcher", "observer"])
def test_the_handle_with_pid_0_stays_valid_after_the_start_and_after_the_end(
    launcher: Session, observer: Session, admin: Session, gate: Gate, whose: str
) -> None:
    session = {"launcher": launcher, "observer": observer}[whose]
    other_gate = 4711
    admin.execute("select pg_advisory_lock(%s)", [other_gate])
    job = launcher.launch(f"select pg_advisory_xact_lock_shared({other_gate}); select 7")
    assert session.call("full_sql", *job)[0][0].endswith("select 7")
    gate.open()
    until_running(admin, job)
    running = Handle(admin.job(job)["pid"], job.cookie)
    assert running.pid != 0
    for handle in (job, running):
        assert session.outcome(handle).state == "running"
        assert session.outcome(handle).pid == running.pid
        assert session.call("full_sql", *handle)[0][0].endswith("select 7")
        assert session.call("result_info", *handle)[0][2] is False
        assert session.wait(handle, 1) is False
    admin.execute("select pg_advisory_unlock(%s)", [other_gate])
    for handle in (job, running):
        assert session.wait(handle)
        assert session.result(handle, "n int4") == [(7,)]
        assert session.outcome(handle).state == "stopped"
        assert session.call("error_info", *handle) in ([], [(None,) * 9])
    session.detach(job)


def test_another_pid_does_not_name_a_queued_job(launcher: Session) -> None:
    job = launcher.launch("select 7")
    wrong = Handle(launcher.pid, job.cookie)
    assert launcher.outcome(wrong) == nothing_known(*wrong)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        launcher.wait(wrong)


def test_strangers_may_not_touch_a_queued_job(
    launcher: Session, connect: Callable[..., Session], roles: Roles, gate: Gate
) -> None:
    job = launcher.launch("select 7")
    stranger = connect(roles.create("stranger"))
    assert stranger.outcome(job) == nothing_known(*job)
    for verb in ("wait", "cancel", "detach", "full_sql"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.call(verb, *job)
    gate.open()
    assert launcher.result(job, "n int4") == [(7,)]


def test_wait_any_returns_a_running_job_that_ends_before_the_queued_one(
    launcher: Session, admin: Session, gate: Gate, full: Handle
) -> None:
    launcher.execute("set pg_background.max_workers = 2")
    admin.execute("select pg_advisory_lock(4712)")
    launcher.launch("select pg_advisory_xact_lock_shared(4712)")
    queued = launcher.launch("select 7")
    assert queued.pid == 0
    begin(
        launcher,
        "select cookie from background.pg_background_wait_any(array["
        f"(0, {queued.cookie})::background.pg_background_handle,"
        f"({full.pid}, {full.cookie})::background.pg_background_handle])",
    )
    eventually(lambda: is_waiting(admin, launcher))
    launcher_job = admin.job(full)
    assert launcher_job["state"] == "running"
    admin.call("cancel", *full)
    got = answer(launcher)
    assert got in (str(full.cookie).encode(), str(queued.cookie).encode())
    admin.execute("select pg_advisory_unlock(4712)")
    gate.open()
    assert launcher.wait(queued)


def test_whoever_waits_for_a_queued_job_and_blocks_every_running_one_is_told_of_the_deadlock(
    launcher: Session, gate: Gate, full: Handle, observer: Session
) -> None:
    gate.open()
    launcher.wait(full)
    launcher.execute("create table t (n int4)")
    launcher.execute("begin")
    launcher.execute("lock table t")
    running = launcher.launch("select count(*) from t")
    queued = launcher.launch("select 7")
    assert (running.pid != 0, queued.pid) == (True, 0)
    with pytest.raises(psycopg.errors.DeadlockDetected) as refusal:
        launcher.wait(queued)
    assert "queued" in (refusal.value.diag.message_detail or "")
    launcher.execute("rollback")
    assert observer.finished(queued).state == "stopped"
    assert observer.finished(running).state == "stopped"


def test_a_job_of_another_role_that_goes_on_does_not_hide_the_deadlock(
    launcher: Session, connect: Callable[..., Session], roles: Roles, gate: Gate, full: Handle
) -> None:
    gate.open()
    launcher.wait(full)
    gate.close()
    other = connect(roles.create("other"))
    elsewhere = other.launch(gate.sql)
    gate.arrived()
    launcher.execute("create table t (n int4)")
    launcher.execute("begin")
    launcher.execute("lock table t; set local statement_timeout = '20s'")
    launcher.launch("select count(*) from t")
    queued = launcher.launch("select 7")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        launcher.wait(queued)
    launcher.execute("rollback")
    assert launcher.wait(queued)
    gate.open()
    assert other.wait(elsewhere)


@pytest.mark.parametrize("verb", ["result", "wait_any", "drain"])
def test_the_deadlock_with_a_queued_job_is_found_by_the_other_verbs(
    launcher: Session, gate: Gate, full: Handle, verb: str
) -> None:
    gate.open()
    launcher.wait(full)
    launcher.execute("create table t (n int4)")
    launcher.execute("begin")
    launcher.execute("lock table t")
    launcher.launch("select count(*) from t")
    queued = launcher.launch("select 7")
    assert queued.pid == 0
    launcher.execute("set local statement_timeout = '20s'")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        launcher.execute(READS[verb].format(*queued))
    launcher.execute("rollback")
    assert launcher.wait(queued)


def test_the_deadlock_is_found_with_a_snapshot_older_than_the_jobs(
    launcher: Session, gate: Gate, full: Handle
) -> None:
    gate.open()
    launcher.wait(full)
    launcher.execute("create table t (n int4)")
    launcher.execute("begin isolation level repeatable read")
    launcher.execute("lock table t; set local statement_timeout = '20s'")
    launcher.execute("select 1")
    launcher.launch("select count(*) from t")
    queued = launcher.launch("select 7")
    assert queued.pid == 0
    with pytest.raises(psycopg.errors.DeadlockDetected):
        launcher.wait(queued)
    launcher.execute("rollback")
    assert launcher.wait(queued)


def test_a_launcher_with_an_old_snapshot_waits_for_a_queued_job(
    launcher: Session, gate: Gate, admin: Session
) -> None:
    launcher.execute("begin isolation level repeatable read")
    launcher.execute("select 1")
    job = launcher.launch("select 7")
    assert job.pid == 0
    begin(launcher, READS["result"].format(*job))
    eventually(lambda: is_waiting(admin, launcher))
    gate.open()
    assert answer(launcher) == b"7"
    launcher.execute("commit")


def test_a_job_queued_in_a_transaction_that_is_rolled_back_runs_all_the_same(
    launcher: Session, gate: Gate, admin: Session
) -> None:
    launcher.execute("begin")
    job = launcher.launch("select 7")
    launcher.execute("rollback")
    gate.open()
    assert admin.until_ended(job).state == "stopped"
