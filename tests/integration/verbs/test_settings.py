"""A job runs under its launcher's settings, without those that belong to the launcher alone."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.session import Session


def seen(session: Session, setting: str) -> str:
    """Return what a job sees of a setting."""
    job = session.launch(f"select current_setting('{setting}', true)")
    value: str = session.result(job)[0][0]
    return value


TRAVELLING = [
    ("work_mem", "7MB"),
    ("search_path", "aside, public"),
    ("DateStyle", "German, DMY"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "Asia/Kathmandu"),
    ("enable_seqscan", "off"),
    ("standard_conforming_strings", "off"),
    ("default_tablespace", "pg_default"),
    ("statement_timeout", "77s"),
    ("lock_timeout", "78s"),
    ("synchronous_commit", "off"),
    ("row_security", "off"),
    ("app.tenant", "blue"),
    ("app.quoted", 'it\'s "quoted", \\ and {more}'),
    ("app.empty", ""),
]


@pytest.mark.parametrize("scope", ["session", "transaction"])
def test_every_setting_of_the_launcher_is_the_job_s(launcher: Session, scope: str) -> None:
    lost = {}
    for setting, value in TRAVELLING:
        launcher.execute("begin")
        launcher.rows("select set_config(%s, %s, %s)", (setting, value, scope == "transaction"))
        job = launcher.launch(f"select current_setting('{setting}', true)")
        launcher.wait(job)
        error = launcher.error_info(job)["message"]
        if error or launcher.result(job) != [(value,)]:
            lost[setting] = error
        launcher.execute("rollback")
    assert lost == {}


def test_a_setting_changed_between_two_jobs_is_seen_by_the_second(launcher: Session) -> None:
    for value in ("3MB", "5MB", "4MB"):
        launcher.execute(f"set work_mem = '{value}'")
        launcher.execute(f"set app.value = '{value}'")
        assert seen(launcher, "work_mem") == value
        assert seen(launcher, "app.value") == value
    launcher.execute("set work_mem = '77MB'")
    launcher.execute("reset work_mem")
    assert seen(launcher, "work_mem") == launcher.value("show work_mem")


def test_settings_given_at_login_travel(connect: Callable[..., Session]) -> None:
    launcher = connect(options="-c work_mem=9MB -c app.tenant=green")
    assert seen(launcher, "work_mem") == "9MB"
    assert seen(launcher, "app.tenant") == "green"


def test_settings_of_the_role_and_the_database_hold_in_the_job(
    admin: Session, app: str, connect: Callable[..., Session]
) -> None:
    admin.execute(f"alter role {app} set work_mem = '11MB'")
    admin.execute(f"alter role {app} set app.tenant = 'red'")
    launcher = connect()
    assert seen(launcher, "work_mem") == "11MB"
    assert seen(launcher, "app.tenant") == "red"


def test_a_setting_of_the_launching_function_travels(launcher: Session) -> None:
    launcher.execute(
        "create function inner_path() returns text language plpgsql set work_mem = '6MB' as $$"
        " declare h background.pg_background_handle; t text; begin"
        " h := background.pg_background_launch('show work_mem');"
        " select * into t from background.pg_background_result(h.pid, h.cookie) as r(t text);"
        " return t; end $$"
    )
    assert launcher.value("select inner_path()") == "6MB"


def test_what_belongs_to_the_launcher_alone_stays_with_it(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("set application_name = 'my tool'")
    launcher.execute("set idle_session_timeout = '1h'")
    launcher.execute("set idle_in_transaction_session_timeout = '2h'")
    launcher.execute("set client_min_messages = 'debug5'")
    job = launcher.launch(
        "select current_setting('application_name'), current_setting('idle_session_timeout'),"
        f" current_setting('idle_in_transaction_session_timeout'); {gate.sql}"
    )
    gate.arrived()
    backend = admin.backend(job.pid)
    assert backend is not None
    assert backend["application_name"] == "pg_background"
    gate.open()
    assert launcher.finished(job).state == "stopped"
    assert seen(launcher, "application_name") == "pg_background"
    assert seen(launcher, "idle_session_timeout") == "1min"
    assert seen(launcher, "idle_in_transaction_session_timeout") == "0"
    assert launcher.value("show application_name") == "my tool"


def test_a_worker_ends_itself_a_minute_after_its_last_job(launcher: Session) -> None:
    assert seen(launcher, "idle_session_timeout") == "1min"
    launcher.execute("set idle_session_timeout = 0")
    assert seen(launcher, "idle_session_timeout") == "1min"


def test_begin_with_an_isolation_level_or_read_only_does_not_reach_the_job(
    launcher: Session,
) -> None:
    launcher.execute("begin isolation level serializable read only deferrable")
    assert seen(launcher, "transaction_isolation") == "read committed"
    assert seen(launcher, "transaction_read_only") == "off"
    assert seen(launcher, "transaction_deferrable") == "off"
    launcher.execute("commit")


def test_row_level_security_by_a_custom_setting_holds_in_the_job(
    launcher: Session, admin: Session, app: str
) -> None:
    admin.execute("create table orders (tenant text, n int4)")
    admin.execute("insert into orders values ('blue', 1), ('red', 2), ('blue', 3)")
    admin.execute("alter table orders enable row level security")
    admin.execute(
        "create policy by_tenant on orders using (tenant = current_setting('app.tenant', true))"
    )
    admin.execute(f"grant select on orders to {app}")
    text = "select n from orders order by n"
    assert launcher.result(launcher.launch(text), "n int4") == []
    launcher.execute("set app.tenant = 'blue'")
    assert launcher.result(launcher.launch(text), "n int4") == [(1,), (3,)]
    launcher.execute("begin")
    launcher.execute("set local app.tenant = 'red'")
    assert launcher.result(launcher.launch(text), "n int4") == [(2,)]
    launcher.execute("commit")
    assert launcher.result(launcher.launch(text), "n int4") == [(1,), (3,)]


def test_a_setting_that_only_a_superuser_may_make_is_left_out(
    admin: Session, connect: Callable[..., Session], roles: Roles
) -> None:
    role = roles.create("limited")
    admin.execute(f"grant {role} to current_user")
    admin.execute("set log_min_duration_statement = 77")
    admin.execute("set work_mem = '3MB'")
    admin.execute(f"set role {role}")
    assert seen(admin, "work_mem") == "3MB"
    assert connect(role).launch("select 1").pid > 0


def test_a_job_keeps_the_statement_timeout_of_its_launcher(launcher: Session) -> None:
    launcher.execute("set statement_timeout = '10s'")
    assert seen(launcher, "statement_timeout") == "10s"


def test_a_bad_value_of_the_product_s_settings_is_told_at_the_next_launch(
    launcher: Session,
) -> None:
    for setting, value in (
        ("max_workers", "0"),
        ("max_workers", "1001"),
        ("max_workers", "many"),
        ("worker_timeout", "-1"),
        ("worker_timeout", "soon"),
        ("default_queue_size", "63"),
        ("default_queue_size", "268435457"),
        ("when_full", "explode"),
    ):
        launcher.execute(f"set pg_background.{setting} = '{value}'")
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"pg_background.{setting}"):
            launcher.launch("select 1")
        launcher.execute(f"reset pg_background.{setting}")
        assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_the_settings_of_the_launcher_are_untouched_by_every_verb(launcher: Session) -> None:
    launcher.execute("set work_mem = '5MB'")
    launcher.execute("set lock_timeout = '33s'")
    launcher.execute("set app.tenant = 'blue'")
    launcher.execute("do $$ begin end $$")  # brings the settings of PL/pgSQL
    query = "select name, setting, source from pg_settings order by name"
    first = launcher.launch("select 1")
    before = launcher.rows(query)
    job = launcher.launch("set work_mem = '1MB'; set search_path = nowhere; select 1")
    launcher.wait(job)
    launcher.result(first, "n int4")
    launcher.await_(job)
    launcher.cancel(job)
    launcher.detach(job)
    assert launcher.rows(query) == before
    assert launcher.value("show app.tenant") == "blue"
