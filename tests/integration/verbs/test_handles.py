"""Handles work from every session that has the right, and tell precisely why they do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate, eventually
from tests.integration.session import Handle, Session, nothing_known

RAISING = ("wait", "result_info", "error_info", "full_sql", "cancel", "detach")


def use(session: Session, verb: str, pid: int | None, cookie: int | None) -> None:
    """Call a verb with a handle and nothing else."""
    if verb == "result":
        session.rows(
            "select * from background.pg_background_result(%s::int4, %s::int8) as t(answer text)",
            (pid, cookie),
        )
    elif verb == "await":
        session.execute("call background.pg_background_await(%s::int4, %s::int8)", (pid, cookie))
    else:
        session.rows(
            f"select * from background.pg_background_{verb}(%s::int4, %s::int8)", (pid, cookie)
        )


def test_another_session_of_the_role_waits_reads_and_sees_the_outcome(
    launcher: Session, observer: Session
) -> None:
    job = launcher.launch("select 'hello'")
    assert observer.wait(job)
    assert observer.result(job) == [("hello",)]
    assert observer.outcome(job).state == "stopped"
    assert observer.call("full_sql", *job) == [("select 'hello'",)]
    assert observer.listed() == []


def test_another_session_of_the_role_cancels(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    observer.cancel(job)
    assert launcher.finished(job).state == "canceled"


def test_two_sessions_wait_for_one_job(
    launcher: Session, connect: Callable[..., Session], observer: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    others = [connect(), connect()]

    def blocked_by_the_job(pid: int) -> bool:
        return bool(observer.value("select pg_blocking_pids(%s)", [pid]) == [job.pid])

    for other in others:
        other.connection.pgconn.send_query(
            f"select background.pg_background_wait({job.pid}, {job.cookie})".encode()
        )
    for other in others:
        eventually(partial(blocked_by_the_job, other.pid))
    gate.open()
    assert launcher.wait(job)
    for other in others:
        result = other.connection.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"t"


def test_a_wait_whose_time_is_over_just_when_the_job_ends_leaves_no_lock(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    admin.execute(
        "create function public.signal_to(pid int4, signal text) returns void language plpython3u as"
        " 'import os, signal as s; os.kill(pid, getattr(s, signal))'"
    )
    job = launcher.launch(gate.sql)
    gate.arrived()
    waiting = launcher.connection.pgconn
    waiting.send_query(f"select background.pg_background_wait({job.pid}, {job.cookie})".encode())
    eventually(lambda: observer.value("select pg_blocking_pids(%s)", [launcher.pid]) == [job.pid])
    # Stopped, the waiter finds both when it goes on: that it has the lock, and that a slice of its time is over.
    admin.execute("select public.signal_to(%s, 'SIGSTOP')", [launcher.pid])
    try:
        gate.open()
        eventually(lambda: observer.outcome(job).state == "stopped")
        admin.execute("select pg_sleep(0.6)")
    finally:
        admin.execute("select public.signal_to(%s, 'SIGCONT')", [launcher.pid])
    answer = waiting.get_result()
    assert answer is not None
    assert answer.get_value(0, 0) == b"t"
    assert waiting.get_result() is None
    held = "select count(*) from pg_locks where locktype = 'advisory' and pid = %s"
    assert admin.value(held, [launcher.pid]) == 0


def test_wait_gives_up_at_its_timeout_and_the_job_goes_on(launcher: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    assert launcher.wait(job, 30) is False
    assert launcher.outcome(job).state == "running"
    gate.open()
    assert launcher.wait(job, 60000) is True


def test_a_running_job_is_told_as_such(launcher: Session, observer: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql, label="nightly")
    gate.arrived()
    for session in (launcher, observer):
        outcome = session.outcome(job)
        assert outcome[:9] == (*job, "running", False, False, False, 0, "", None)
        assert outcome.label == "nightly"
        assert outcome.launched_at is not None
        info = session.call("result_info", *job)[0]
        assert info[:4] == (0, "", False, False)
        assert info[4] is not None
        assert info[5] is None
        assert session.error_info(job)["sqlstate"] is None
    assert launcher.listed() == [(*job, "running", "nightly")]


def test_a_successful_job_is_told_as_such(launcher: Session) -> None:
    job = launcher.launch("select generate_series(1, 3)")
    launcher.wait(job)
    outcome = launcher.outcome(job)
    assert outcome[:10] == (*job, "stopped", False, True, False, 3, "SELECT", None, None)
    rows, tag, completed, has_error, started, finished = launcher.call("result_info", *job)[0]
    assert (rows, tag, completed, has_error) == (3, "SELECT", True, False)
    assert started <= finished


def test_a_failed_job_is_told_as_such(launcher: Session) -> None:
    job = launcher.launch("select 1 / 0")
    launcher.wait(job)
    assert launcher.outcome(job)[2:10] == (
        *("error", False, True, True, 0, "", "22012"),
        "division by zero",
    )
    assert launcher.call("result_info", *job)[0][:4] == (0, "", True, True)
    listed = launcher.rows(
        "select state, sql_preview, last_error, consumed from background.pg_background_list"
    )
    assert listed == [("error", "select 1 / 0", "division by zero", False)]


def test_reading_the_result_marks_the_job_as_consumed(launcher: Session) -> None:
    job = launcher.launch("select 1")
    assert launcher.finished(job).consumed is False
    launcher.result(job)
    assert launcher.outcome(job).consumed is True
    assert launcher.rows("select consumed from background.pg_background_list") == [(True,)]


def test_the_list_shows_the_jobs_of_this_session_in_order_of_launch(
    launcher: Session, observer: Session, app: str
) -> None:
    text = "select " + "1" * 300
    first = launcher.launch(text, 65537, "first")
    second = launcher.submit("select 2", label="second")
    launcher.wait(first)
    launcher.wait(second)
    listed = launcher.rows(
        "select pid, cookie, user_id::regrole::text, queue_size, state, sql_preview, last_error,"
        " consumed, label from background.pg_background_list"
    )
    assert listed == [
        (*first, app, 65537, "stopped", text[:120], None, False, "first"),
        (*second, app, 65536, "stopped", "select 2", None, False, "second"),
    ]
    assert launcher.call("full_sql", *first) == [(text,)]
    assert observer.listed() == []


def test_the_list_function_takes_the_column_list_of_pg_background(launcher: Session) -> None:
    job = launcher.launch("select 1")
    launcher.wait(job)
    rows = launcher.rows(
        "select pid, cookie, state from background.pg_background_list() as"
        " l(pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4,"
        " state text, sql_preview text, last_error text, consumed bool, label text)"
    )
    assert rows == [(*job, "stopped")]


def test_detach_takes_a_job_off_the_list_and_keeps_its_outcome(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch(f"{gate.sql}; insert into t values (7) returning n")
    gate.arrived()
    launcher.detach(job)
    assert launcher.listed() == []
    gate.open()
    assert observer.finished(job).state == "stopped"
    assert observer.rows("select n from t") == [(7,)]
    for session in (launcher, observer):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            session.result(job, "n int4")


def test_detach_of_an_ended_job_drops_its_rows_and_keeps_its_outcome(
    launcher: Session, observer: Session
) -> None:
    job = launcher.launch("select 1")
    launcher.wait(job)
    launcher.detach(job)
    eventually(lambda: observer.job(job)["detached"])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no longer kept"):
        observer.result(job)
    assert observer.outcome(job).state == "stopped"
    assert observer.outcome(job).row_count == 1


def test_detach_holds_although_its_transaction_is_rolled_back(
    launcher: Session, observer: Session
) -> None:
    job = launcher.launch("select 1")
    launcher.wait(job)
    launcher.execute("begin")
    launcher.detach(job)
    launcher.execute("rollback")
    assert launcher.listed() == []
    eventually(lambda: observer.job(job)["detached"])


def test_every_field_of_an_error_is_kept_and_raised_again(launcher: Session) -> None:
    launcher.execute("create table t (n int4 constraint positive check (n > 0))")
    job = launcher.launch("insert into t values (-1)")
    launcher.wait(job)
    error = launcher.error_info(job)
    assert error["sqlstate"] == "23514"
    assert error["message"] == ('new row for relation "t" violates check constraint "positive"')
    assert error["detail"] == "Failing row contains (-1)."
    assert error["hint"] is None
    assert "insert into t values (-1)" in error["context"]
    assert [error[f"{kind}_name"] for kind in ("schema", "table", "column", "constraint")] == [
        "public",
        "t",
        None,
        "positive",
    ]
    with pytest.raises(psycopg.errors.CheckViolation) as raised:
        launcher.result(job)
    diagnostics = raised.value.diag
    assert diagnostics.message_primary == "background worker: " + error["message"]
    assert diagnostics.message_detail == error["detail"]
    assert diagnostics.schema_name == "public"
    assert diagnostics.table_name == "t"
    assert diagnostics.constraint_name == "positive"


def test_the_column_of_a_not_null_violation_and_a_hint_are_kept(launcher: Session) -> None:
    launcher.execute("create table t (n int4 not null)")
    job = launcher.launch("insert into t values (null)")
    launcher.wait(job)
    error = launcher.error_info(job)
    assert (error["sqlstate"], error["table_name"], error["column_name"]) == ("23502", "t", "n")

    job = launcher.launch(
        "do $$ begin raise exception using message = 'm', detail = 'd', hint = 'h',"
        " errcode = 'ZZ123', schema = 's', table = 't', column = 'c', constraint = 'k'; end $$"
    )
    launcher.wait(job)
    error = launcher.error_info(job)
    error.pop("context")
    assert error == {
        "sqlstate": "ZZ123",
        "message": "m",
        "detail": "d",
        "hint": "h",
        "schema_name": "s",
        "table_name": "t",
        "column_name": "c",
        "constraint_name": "k",
    }
    with pytest.raises(psycopg.errors.Error) as raised:
        launcher.result(job)
    assert raised.value.sqlstate == "ZZ123"
    assert raised.value.diag.message_hint == "h"
    assert raised.value.diag.column_name == "c"


def test_error_info_is_null_without_an_error(launcher: Session) -> None:
    job = launcher.launch("select 1")
    launcher.wait(job)
    assert launcher.value("select background.pg_background_error_info(%s, %s) is null", tuple(job))


def test_the_job_of_another_role_is_refused(
    launcher: Session, connect: Callable[..., Session], roles: Roles, gate: Gate
) -> None:
    job = launcher.launch(gate.sql, label="mine")
    gate.arrived()
    stranger = connect(roles.create("stranger"))
    for verb in (*RAISING, "result", "await"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^pg_background: "):
            use(stranger, verb, *job)
    row = launcher.job(job)
    assert (row["state"], row["cancel_requested"], row["detached"]) == ("running", False, False)


def test_another_role_learns_nothing_from_outcome_list_and_jobs(
    launcher: Session, connect: Callable[..., Session], roles: Roles
) -> None:
    job = launcher.launch("select 'secret'", label="secret")
    launcher.wait(job)
    stranger = connect(roles.create("stranger"))
    assert stranger.outcome(job) == nothing_known(*job)
    assert stranger.rows("select cookie from background.pg_background_jobs") == []
    assert stranger.listed() == []


def test_members_of_the_role_and_superusers_may_use_its_handles(
    launcher: Session, connect: Callable[..., Session], roles: Roles, app: str, admin: Session
) -> None:
    member = roles.create("member")
    roles.grant(app, member)
    job = launcher.launch("select 1")
    for session in (connect(member), admin):
        assert session.finished(job).state == "stopped"
        assert session.result(job, "n int4") == [(1,)]
        assert session.job(job)["role"] == app


def test_a_member_of_pg_signal_backend_may_cancel_and_nothing_else(
    launcher: Session, connect: Callable[..., Session], roles: Roles, gate: Gate
) -> None:
    operator = roles.create("operator")
    roles.grant("pg_signal_backend", operator)
    session = connect(operator)
    job = launcher.launch(gate.sql)
    gate.arrived()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.call("full_sql", *job)
    session.cancel(job)
    assert launcher.finished(job).state == "canceled"


def test_a_known_pid_with_another_cookie_is_a_mismatch(launcher: Session, gate: Gate) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    stale = Handle(job.pid, job.cookie ^ 1)
    for verb in (*RAISING, "result", "await"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cookie mismatch"):
            use(launcher, verb, *stale)
    assert launcher.outcome(stale) == nothing_known(*stale)
    assert launcher.outcome(job).state == "running"


def test_a_handle_that_nothing_is_known_of_is_refused(launcher: Session) -> None:
    for verb in (*RAISING, "result", "await"):
        for handle in ((1, 1), (-1, -1), (0, 1)):
            with pytest.raises(psycopg.errors.UndefinedObject, match=r"^pg_background: "):
                use(launcher, verb, *handle)


def test_nothing_is_done_with_a_null_handle(launcher: Session) -> None:
    handles: list[tuple[int | None, int | None]] = [(None, 1), (1, None), (None, None)]
    for handle in handles:
        for verb in RAISING:
            name = f"background.pg_background_{verb}"
            answer = launcher.value(f"select {name}(%s::int4, %s::int8)", handle)
            assert answer in (None, ""), verb
        assert (
            launcher.rows(
                "select * from background.pg_background_result(%s::int4, %s::int8) as t(answer text)",
                handle,
            )
            == []
        )


def test_outcome_never_raises(launcher: Session) -> None:
    for handle in ((1, 1), (None, 1), (1, None), (None, None)):
        row = launcher.rows(
            "select * from background.pg_background_outcome(%s::int4, %s::int8)", handle
        )
        assert row == [nothing_known(*handle)]


def test_null_sql_gives_a_null_handle(launcher: Session) -> None:
    assert launcher.rows("select * from background.pg_background_launch(null)") == [(None, None)]
    assert launcher.rows("select * from background.pg_background_submit(null)") == [(None, None)]
    assert launcher.listed() == []


@pytest.mark.parametrize("text", ["", "   ", ";", " ; ; ", "-- nothing", "/* nothing */ ;"])
def test_a_text_without_statements_is_a_job_that_stops_with_an_empty_tag(
    launcher: Session, text: str
) -> None:
    job = launcher.launch(text)
    outcome = launcher.finished(job)
    assert (outcome.state, outcome.command_tag, outcome.row_count) == ("stopped", "", 0)


@pytest.mark.parametrize("size", [1, 63, 268435457, 2147483647])
def test_an_impossible_queue_size_is_refused(launcher: Session, size: int) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        launcher.launch("select 1", size)
    assert launcher.listed() == []


@pytest.mark.parametrize("size", [-1, 0, 64, 268435456])
def test_a_possible_queue_size_is_taken(launcher: Session, size: int) -> None:
    job = launcher.launch("select 1", size)
    assert launcher.finished(job).state == "stopped"
    listed = launcher.rows("select queue_size from background.pg_background_list")
    assert listed == [(size if size > 0 else 65536,)]


@pytest.mark.parametrize(
    "label", ["nightly", "Grüße, 'quoted' \"twice\" \\ {} %s", "x" * 64, "a\nb"]
)
def test_a_label_comes_back_as_it_was_given(launcher: Session, label: str) -> None:
    job = launcher.launch("select 1", label=label)
    assert launcher.finished(job).label == label
    assert launcher.listed() == [(*job, "stopped", label)]
    assert launcher.job(job)["label"] == label


def test_an_empty_label_is_none_and_one_of_more_than_64_bytes_is_refused(
    launcher: Session,
) -> None:
    assert launcher.finished(launcher.launch("select 1", label="")).label is None
    with pytest.raises(psycopg.errors.StringDataRightTruncation):
        launcher.launch("select 1", label="ü" * 33)


def test_the_label_of_a_running_job_is_shown_by_its_backend(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql, label="nightly")
    gate.arrived()
    backend = observer.backend(job.pid)
    assert backend is not None
    assert backend["application_name"] == "pg_background [nightly]"


def test_run_launches_waits_and_tells_the_outcome(launcher: Session) -> None:
    launcher.execute("create table t (n int4)")
    rows = launcher.rows(
        "select state, has_error, row_count, command_tag, timed_out, elapsed_ms >= 0"
        " from background.pg_background_run('insert into t values (1), (2)')"
    )
    assert rows == [("stopped", False, 2, "INSERT", False, True)]
    rows = launcher.rows(
        "select state, sqlstate, timed_out from background.pg_background_run('select 1 / 0')"
    )
    assert rows == [("error", "22012", False)]
    assert launcher.listed() == []


def test_run_cancels_at_its_timeout(launcher: Session, gate: Gate) -> None:
    rows = launcher.rows(
        "select state, sqlstate, timed_out from background.pg_background_run(%s, 0, 50)",
        [gate.sql],
    )
    assert rows == [("canceled", "57014", True)]
