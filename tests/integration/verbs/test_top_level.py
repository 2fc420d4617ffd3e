"""Statements that PostgreSQL refuses inside a transaction run at top level, chosen by the product."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fix_db import unique_name
from tests.fix_wait import Gate, eventually
from tests.integration.session import Handle, Session


@pytest.fixture(autouse=True)
def table(launcher: Session) -> None:
    """Make the table that the statements are about."""
    launcher.execute("create table t (n int4 primary key, m int4)")
    launcher.execute("insert into t select n, n from generate_series(1, 100) n")


def succeeds(session: Session, text: str, tag: str) -> Handle:
    """Run a job, without holding a snapshot, and check that it went well at top level."""
    job = session.launch(text)
    session.await_(job)
    outcome = session.outcome(job)
    assert (outcome.state, outcome.error_message) == ("stopped", None)
    assert outcome.command_tag == tag
    row = session.job(job)
    assert row["mode"] == "top-level"
    assert row["executor_pid"] not in (None, row["pid"])
    assert session.result(job) == [(tag,)]
    return job


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("vacuum t", "VACUUM"),
        ("VACUUM (ANALYZE, FREEZE) t;", "VACUUM"),
        ("/* why */ vacuum full t -- because", "VACUUM"),
        ("create index concurrently i on t (m)", "CREATE INDEX"),
        ("create unique index concurrently if not exists i on t (m)", "CREATE INDEX"),
        ("reindex table concurrently t", "REINDEX"),
        ("reindex (concurrently) index t_pkey", "REINDEX"),
    ],
)
def test_maintenance_of_a_table_runs_at_top_level(launcher: Session, text: str, tag: str) -> None:
    succeeds(launcher, text, tag)


def test_an_index_is_dropped_concurrently(launcher: Session) -> None:
    launcher.execute("create index i on t (m)")
    succeeds(launcher, "drop index concurrently i", "DROP INDEX")
    assert launcher.value("select to_regclass('i')") is None


def test_the_settings_and_the_role_of_the_launcher_hold_at_top_level(
    launcher: Session, app: str
) -> None:
    launcher.execute("create schema aside")
    launcher.execute("create table aside.u (n int4)")
    launcher.execute("set search_path = aside, public")
    launcher.execute("set app.tenant = 'blue'")
    launcher.execute(
        "create procedure aside.note() language plpgsql as $$ begin"
        " create table aside.seen as select current_user::text as who,"
        " current_setting('app.tenant') as tenant, current_setting('search_path') as path;"
        " commit; end $$"
    )
    succeeds(launcher, "vacuum u", "VACUUM")
    succeeds(launcher, "call note()", "CALL")
    assert launcher.rows("table aside.seen") == [(app, "blue", "aside, public")]


def test_the_messages_of_vacuum_verbose_are_kept_and_raised_again(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("delete from t where n > 50")
    job = launcher.launch("vacuum (verbose) t", label="nightly")
    launcher.wait(job)
    heard: list[tuple[str | None, str]] = []
    observer.connection.add_notice_handler(
        lambda d: heard.append((d.severity_nonlocalized, d.message_primary or ""))
    )
    assert observer.result(job) == [("VACUUM",)]
    assert heard, "nothing was raised again"
    assert {severity for severity, _ in heard} == {"INFO"}
    text = "\n".join(message for _, message in heard)
    assert 'vacuuming "' in text
    assert "tuples: 50 removed, 50 remain" in text


def test_messages_of_every_level_are_raised_again_at_their_level(launcher: Session) -> None:
    launcher.execute(
        "create procedure speak() language plpgsql as $$ begin"
        " raise notice 'one' using detail = 'd', hint = 'h'; commit;"
        " raise warning E'two\\nlines'; raise info 'three'; end $$"
    )
    job = launcher.launch("call speak()")
    launcher.wait(job)
    heard: list[tuple[str | None, ...]] = []
    launcher.connection.add_notice_handler(
        lambda d: heard.append(
            (d.severity_nonlocalized, d.message_primary, d.message_detail, d.message_hint)
        )
    )
    launcher.result(job)
    assert heard == [
        ("NOTICE", "one", "d", "h"),
        ("WARNING", "two\nlines", None, None),
        ("INFO", "three", None, None),
    ]


def test_alter_system_runs_at_top_level(admin: Session) -> None:
    try:
        succeeds(admin, "alter system set log_min_duration_statement = 77", "ALTER SYSTEM")
        assert (
            admin.value(
                "select setting from pg_file_settings where name = 'log_min_duration_statement'"
            )
            == "77"
        )
    finally:
        admin.execute("alter system reset log_min_duration_statement")


def test_databases_are_created_and_dropped(admin: Session) -> None:
    name = unique_name("made")
    succeeds(admin, f"create database {name}", "CREATE DATABASE")
    try:
        assert admin.value("select count(*) from pg_database where datname = %s", [name]) == 1
    finally:
        succeeds(admin, f"drop database {name}", "DROP DATABASE")
    assert admin.value("select count(*) from pg_database where datname = %s", [name]) == 0


def test_a_procedure_commits_as_it_likes(launcher: Session) -> None:
    launcher.execute("create table done (n int4)")
    launcher.execute(
        "create procedure batches(rounds int4) language plpgsql as $$ begin"
        " for i in 1 .. rounds loop insert into done values (i); commit; end loop;"
        " insert into done values (-1); rollback; end $$"
    )
    succeeds(launcher, "call batches(5)", "CALL")
    assert launcher.rows("select n from done order by n") == [(n,) for n in range(1, 6)]


def test_a_procedure_is_called_once_only(launcher: Session) -> None:
    launcher.execute("create sequence calls")
    launcher.execute(
        "create procedure fails() language plpgsql as $$ begin"
        " perform nextval('calls'); commit; raise exception 'no'; end $$"
    )
    job = launcher.launch("call fails()")
    assert launcher.finished(job).error_message == "no"
    assert launcher.value("select last_value from calls") == 1


def test_an_anonymous_block_commits_as_it_likes(launcher: Session) -> None:
    launcher.execute("create table done (n int4)")
    succeeds(
        launcher,
        "do $$ begin for i in 1 .. 3 loop insert into done values (i); commit; end loop; end $$",
        "DO",
    )
    assert launcher.value("select count(*) from done") == 3


def test_an_anonymous_block_without_a_commit_is_an_inline_job(launcher: Session) -> None:
    job = launcher.launch("do $$ begin perform 1; end $$")
    assert launcher.finished(job).command_tag == "DO"
    assert launcher.job(job)["mode"] == "inline"


def test_a_call_with_output_arguments_returns_a_row(launcher: Session, observer: Session) -> None:
    launcher.execute(
        "create procedure twice(inout n int4, inout t text, out u text) language plpgsql as"
        " $$ begin n := n * 2; commit; t := t || t; u := null; end $$"
    )
    job = launcher.launch("call twice(21, 'a,\"b', null)")
    for session in (launcher, observer):
        assert session.result(job, "n int4, t text, u text") == [(42, 'a,"ba,"b', None)]
    assert launcher.outcome(job).command_tag == "CALL"


def test_a_refused_top_level_statement_tells_the_server_s_reason(launcher: Session) -> None:
    job = launcher.launch("vacuum no_such_table")
    assert launcher.finished(job).sqlstate == "42P01"
    job = launcher.launch("create unique index concurrently i on t ((n / 50))")
    launcher.await_(job)
    assert launcher.outcome(job).sqlstate == "23505"
    with pytest.raises(psycopg.errors.UniqueViolation, match="background worker: "):
        launcher.result(job)


def test_a_top_level_statement_among_others_is_refused_and_nothing_stays(
    launcher: Session,
) -> None:
    job = launcher.launch("insert into t values (1000, 1); vacuum t")
    assert launcher.finished(job).sqlstate == "25001"
    assert launcher.value("select count(*) from t where n = 1000") == 0


@pytest.fixture
def held(launcher: Session, observer: Session, gate: Gate) -> Iterator[tuple[Handle, int]]:
    """Give a VACUUM that is held by a lock, and the pid of its executor."""
    gate.lock_table("t")
    job = launcher.launch("vacuum t")
    (executor,) = gate.arrived()
    assert observer.job(job)["executor_pid"] == executor
    assert executor != job.pid
    yield job, executor
    gate.open()


def test_a_cancel_reaches_the_executor(
    launcher: Session, observer: Session, held: tuple[Handle, int]
) -> None:
    job, executor = held
    launcher.cancel(job)
    outcome = launcher.finished(job)
    assert (outcome.state, outcome.sqlstate) == ("canceled", "57014")
    observer.until_gone(executor)


def test_a_cancel_with_grace_reaches_an_executor_that_does_not_stop(
    launcher: Session, observer: Session
) -> None:
    launcher.execute(
        "create procedure stubborn() language plpgsql as $$ begin loop"
        " begin perform pg_sleep(1000); exception when query_canceled then raise log 'no'; end;"
        " end loop; end $$"
    )
    job = launcher.launch("call stubborn()")
    eventually(lambda: observer.job(job)["executor_pid"])
    executor = observer.job(job)["executor_pid"]
    eventually(lambda: (observer.backend(executor) or {})["wait_event"] == "PgSleep")
    launcher.cancel(job, 200)
    assert launcher.finished(job).state == "canceled"
    observer.until_gone(executor)


def test_the_death_of_an_executor_ends_the_job(
    launcher: Session, admin: Session, held: tuple[Handle, int]
) -> None:
    job, executor = held
    assert admin.value("select pg_terminate_backend(%s, 20000)", [executor])
    outcome = launcher.finished(job)
    assert outcome.state == "error"
    assert outcome.sqlstate in ("57P01", "08007")


def test_the_death_of_a_top_level_worker_is_an_unknown_fate_and_its_executor_stops(
    launcher: Session, admin: Session, held: tuple[Handle, int]
) -> None:
    job, executor = held
    assert admin.value("select pg_terminate_backend(%s, 20000)", [job.pid])
    assert launcher.wait(job)
    outcome = launcher.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("error", "08007")
    admin.until_gone(executor)


def test_other_jobs_run_while_a_top_level_job_is_held(
    launcher: Session, held: tuple[Handle, int]
) -> None:
    job, _ = held
    assert launcher.result(launcher.launch("select 1"), "n int4") == [(1,)]
    assert launcher.outcome(job).state == "running"


def test_the_worker_of_a_top_level_job_serves_inline_jobs_afterwards(
    launcher: Session, connect: Callable[..., Session]
) -> None:
    observer = connect()
    first = succeeds(launcher, "vacuum t", "VACUUM")
    observer.until_idle(first.pid)
    second = launcher.launch("select 1")
    assert launcher.result(second, "n int4") == [(1,)]
    assert second.pid == first.pid
    third = succeeds(launcher, "vacuum t", "VACUUM")
    assert launcher.outcome(third).state == "stopped"
