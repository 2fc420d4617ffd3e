"""run, run_query and execute: a job in one call, which leaves none behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import limit
from tests.integration.session import Session

CALLS = {
    "run": "select state from background.pg_background_run({})",
    "run_query": "select * from background.pg_background_run_query({}) as (tag text)",
    "execute": "select background.pg_background_execute({})",
}
INSERT = "'insert into t values (2)'"


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> str:
    """A call with a place for its arguments."""
    return CALLS[request.param]


@pytest.fixture(autouse=True)
def table(launcher: Session) -> None:
    """Make the table that jobs write to."""
    launcher.execute("create table t (n int4 constraint positive check (n > 0))")


def assert_canceled(session: Session, sqlstate: str = "57014") -> None:
    """The only job has been canceled, and nothing of it is there."""
    jobs = session.rows("select state, sqlstate from background.pg_background_jobs")
    assert jobs == [("canceled", sqlstate)]
    assert session.rows("select n from t") == []


def test_a_job_that_waits_for_its_caller_is_canceled(launcher: Session, call: str) -> None:
    launcher.execute("begin; lock table t")
    with pytest.raises(psycopg.errors.DeadlockDetected) as caught:
        launcher.execute(call.format(INSERT))
    assert caught.value.diag.message_detail
    assert "The job was canceled; its state is canceled." in caught.value.diag.message_detail
    launcher.execute("rollback")
    assert_canceled(launcher)


def test_a_job_whose_caller_runs_out_of_time_is_canceled(
    launcher: Session, gate: Gate, call: str
) -> None:
    launcher.execute("set statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        launcher.execute(call.format(f"'insert into t values (1); {gate.sql}'"))
    launcher.execute("reset statement_timeout")
    # The setting is the job's, too, and may end it first. On a slow machine the time is over before there is a job.
    states = launcher.rows("select state from background.pg_background_jobs")
    assert states in ([("canceled",)], [("error",)], [])
    assert launcher.rows("select n from t") == []


def test_a_job_whose_caller_is_canceled_is_canceled(
    launcher: Session, observer: Session, gate: Gate, call: str
) -> None:
    with ThreadPoolExecutor() as pool:
        called = pool.submit(
            launcher.execute, call.format(f"'insert into t values (1); {gate.sql}'")
        )
        gate.arrived()
        observer.execute(
            "select pg_cancel_backend(launcher_pid) from background.pg_background_jobs where state = 'running'"
        )
        with pytest.raises(psycopg.errors.QueryCanceled):
            called.result()
    assert_canceled(launcher)


def test_a_job_that_waits_for_a_place_is_canceled(
    launcher: Session, observer: Session, admin: Session, gate: Gate, call: str
) -> None:
    limit(admin, "database", 1)
    running = observer.launch(gate.sql)
    launcher.execute("set pg_background.when_full = 'queue'; set statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        launcher.execute(call.format(INSERT))
    launcher.execute("reset statement_timeout")
    queued = "select count(*) from background.pg_background_jobs where state = 'queued'"
    assert admin.value(queued) == 0
    gate.open()
    assert observer.finished(running).state == "stopped"
    assert launcher.rows("select n from t") == []


@pytest.mark.parametrize(
    "step",
    ["its worker registers it", "its worker queues it", "it looks after the queue"],
)
@pytest.mark.parametrize("call", [*CALLS.values(), "select background.pg_background_launch({})"])
def test_a_call_that_is_canceled_while_it_hands_over_its_job_leaves_no_job(
    launcher: Session, observer: Session, admin: Session, gate: Gate, call: str, step: str
) -> None:
    launcher.finished(launcher.launch("select 1"))
    if step != "its worker registers it":
        limit(admin, "database", 1)
        observer.launch(gate.sql)
        launcher.execute("set pg_background.when_full = 'queue'")
    table, mode = ("job", "share")
    if step == "it looks after the queue":
        table, mode = ("schedule", "access exclusive")
    pid = launcher.value("select pg_backend_pid()")
    admin.execute(f"begin; lock table pgbackground.{table} in {mode} mode")
    with ThreadPoolExecutor() as pool:
        called = pool.submit(launcher.execute, call.format(INSERT))
        blocked = "select from pg_locks where relation = %s::regclass and not granted"
        eventually(lambda: admin.rows(blocked, [f"pgbackground.{table}"]))
        admin.execute("select pg_cancel_backend(%s)", [pid])
        admin.execute("commit")
        with pytest.raises(psycopg.errors.QueryCanceled):
            called.result()
    gate.open()
    unfinished = "select from background.pg_background_jobs where state in ('queued', 'running')"
    eventually(lambda: not admin.rows(unfinished))
    assert launcher.rows("select n from t") == []


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_execute_stands_when_the_callers_transaction_does_not(
    launcher: Session, level: str
) -> None:
    launcher.execute(f"begin isolation level {level}; savepoint s")
    assert launcher.value(CALLS["execute"].format(INSERT)) == 1
    launcher.execute("rollback to s")
    assert launcher.value(CALLS["execute"].format("'insert into t values ($1)', '[3]'")) == 1
    launcher.execute("rollback")
    assert launcher.rows("select n from t order by n") == [(2,), (3,)]


def test_execute_raises_the_jobs_error_with_all_its_fields(launcher: Session) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        launcher.execute(CALLS["execute"].format("'insert into t values (-1)'"))
    diag = caught.value.diag
    assert (diag.table_name, diag.constraint_name) == ("t", "positive")
    assert diag.message_primary
    assert diag.message_primary.startswith("background worker: new row for relation")
    assert diag.message_detail == "Failing row contains (-1)."


def test_execute_leaves_nothing_to_detach_and_no_rows(launcher: Session, admin: Session) -> None:
    assert launcher.value(CALLS["execute"].format("'select generate_series(1, 5000)'")) == 5000
    assert launcher.listed() == []
    assert admin.value("select count(*) from pgbackground.job_rows") == 0


def test_execute_works_in_a_trigger_and_a_security_definer_function(
    launcher: Session, admin: Session, roles: Roles, app: str
) -> None:
    owner = roles.create("owner")
    admin.execute(f"grant pgbackground_role to {owner}; grant create on schema public to {owner}")
    admin.execute(
        f"set role {owner}; create table audit (who name, n int4);"
        " create function note() returns trigger language plpgsql security definer"
        " set search_path = public, pg_temp as"
        " $$ begin perform background.pg_background_execute("
        "   'insert into audit values (session_user, $1)', jsonb_build_array(new.n)); return new; end $$;"
        f" grant execute on function note() to {app}; reset role"
    )
    launcher.execute("create trigger note before insert on t for each row execute function note()")
    launcher.execute("begin; insert into t values (5), (6); rollback")
    assert admin.rows("select who, n from audit order by n") == [(owner, 5), (owner, 6)]
    assert launcher.rows("select n from t") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        launcher.execute("select from audit")


def test_execute_counts_under_the_limits(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    limit(admin, "database", 1)
    running = observer.launch(gate.sql)
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        launcher.execute(CALLS["execute"].format(INSERT))
    gate.open()
    assert observer.finished(running).state == "stopped"
    again = CALLS["execute"].format(INSERT)

    def executed() -> object:
        try:
            return launcher.value(again)
        except psycopg.errors.ConfigurationLimitExceeded:
            return None

    assert eventually(executed) == 1
