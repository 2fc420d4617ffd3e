"""Jobs in REPEATABLE READ and SERIALIZABLE transactions: their outcome is exact, whatever changes their row."""

from __future__ import annotations

import pytest

from tests.fix_wait import Gate, eventually
from tests.integration.session import Session

LEVELS = ("repeatable read", "serializable")


@pytest.fixture(params=LEVELS, autouse=True)
def level(request: pytest.FixtureRequest, launcher: Session) -> str:
    """Let the launcher's jobs run at this level."""
    chosen: str = request.param
    launcher.execute(f"set default_transaction_isolation = '{chosen}'")
    launcher.execute("create table t (n int4 primary key, v int4)")
    launcher.execute("insert into t values (1, 1), (2, 1)")
    return chosen


def test_the_job_has_the_level(launcher: Session, level: str) -> None:
    job = launcher.launch("select current_setting('transaction_isolation')")
    assert launcher.result(job) == [(level,)]


def test_a_job_that_is_detached_while_it_runs_succeeds(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(f"select v from t; {gate.sql}; update t set v = 7")
    gate.arrived()
    launcher.detach(job)
    eventually(lambda: observer.job(job)["detached"])
    gate.open()
    outcome = observer.finished(job)
    assert (outcome.state, outcome.row_count, outcome.command_tag) == ("stopped", 2, "UPDATE")
    assert observer.rows("select distinct v from t") == [(7,)]


def test_rows_of_a_job_that_is_detached_while_it_runs_are_not_kept(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    job = launcher.launch(f"{gate.sql}; select n from t")
    gate.arrived()
    launcher.detach(job)
    eventually(lambda: admin.job(job)["detached"])
    gate.open()
    assert admin.finished(job).row_count == 2
    eventually(lambda: admin.value("select count(*) from pgbackground.job_rows") == 0)


def test_submitted_and_detached_at_once_every_job_has_its_effect(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("create table audit (n int4)")
    launcher.execute(
        "do $do$ declare h background.pg_background_handle; begin"
        " for i in 1 .. 100 loop"
        "  h := background.pg_background_submit(format('insert into audit values (%s)', i));"
        "  perform background.pg_background_detach(h.pid, h.cookie);"
        " end loop; end $do$"
    )
    states = "select distinct state from background.pg_background_jobs"
    eventually(lambda: ("running",) not in observer.rows(states))
    assert observer.rows(states) == [("stopped",)]
    assert observer.value("select count(*) from audit") == 100


def test_who_waits_is_told_the_outcome(launcher: Session, observer: Session) -> None:
    for _ in range(50):
        job = launcher.launch("update t set v = v + 1")
        assert launcher.wait(job)
        assert observer.outcome(job).state == "stopped"
    assert observer.rows("select distinct v from t") == [(51,)]


def test_an_error_is_kept_with_all_its_fields(launcher: Session) -> None:
    job = launcher.launch("insert into t values (3, 3); insert into t values (1, 1)")
    assert launcher.wait(job)
    error = launcher.error_info(job)
    assert (error["sqlstate"], error["table_name"]) == ("23505", "t")
    assert error["constraint_name"] == "t_pkey"
    assert launcher.outcome(job).state == "error"
    assert launcher.value("select count(*) from t") == 2


def test_a_conflict_of_two_jobs_is_told_as_the_server_tells_it(
    launcher: Session, observer: Session, gate: Gate, level: str
) -> None:
    jobs = [
        launcher.launch(f"select sum(v) from t; {gate.sql}; update t set v = 0 where n = {n}")
        for n in (1, 2)
    ]
    gate.arrived(len(jobs))
    gate.open()
    outcomes = [observer.finished(job) for job in jobs]
    if level == "repeatable read":
        assert [outcome.state for outcome in outcomes] == ["stopped", "stopped"]
        return
    assert sorted(outcome.state or "" for outcome in outcomes) == ["error", "stopped"]
    failed = next(n for n, outcome in enumerate(outcomes) if outcome.state == "error")
    error = observer.error_info(jobs[failed])
    assert error["sqlstate"] == "40001"
    assert "could not serialize access" in error["message"]
    # what failed has no effect, the other one has
    assert observer.rows("select n from t where v = 1") == [(failed + 1,)]


def test_a_row_that_somebody_else_has_changed_is_told_as_a_conflict(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(f"select v from t; {gate.sql}; update t set v = 7")
    gate.arrived()
    observer.execute("update t set v = 5")
    gate.open()
    assert observer.finished(job).sqlstate == "40001"
    assert observer.rows("select distinct v from t") == [(5,)]


def test_a_cancel_ends_a_running_job(launcher: Session, observer: Session, gate: Gate) -> None:
    job = launcher.launch(f"update t set v = 7; {gate.sql}")
    gate.arrived()
    observer.cancel(job)
    assert observer.finished(job).state == "canceled"
    assert observer.rows("select distinct v from t") == [(1,)]
