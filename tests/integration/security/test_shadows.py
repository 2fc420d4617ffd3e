"""Objects of other people with the names that the product uses change nothing and learn nothing."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.session import Handle, Session

Connect = Callable[..., Session]


@pytest.fixture
def witness(admin: Session) -> Session:
    """Give a superuser's session and a table that every spy can write to."""
    admin.execute(
        "create table public.seen (role text, superuser text, what text);"
        " grant insert on public.seen to public; grant create, usage on schema public to public"
    )
    return admin


def what_was_seen(witness: Session) -> list[tuple[str, str, str]]:
    return witness.rows("select * from public.seen")


def make_spying_type(session: Session, schema: str, name: str, base: str) -> None:
    """Make a domain whose check tells who evaluates it."""
    session.execute(
        f"""
        create or replace function public.spy_on_{name}(pg_catalog.{base}) returns pg_catalog.bool
        language plpgsql as $$
        begin
            insert into public.seen values (
                current_user, current_setting('is_superuser'), '{schema}.{name}');
            return true;
        end $$;
        create domain {schema}.{name} as pg_catalog.{base}
            check (public.spy_on_{name}(value));
        """
    )


def test_a_forged_type_does_not_make_the_caller_somebody_else(
    witness: Session, app: str, launcher: Session
) -> None:
    launcher.finished(launcher.launch("select 1"))
    values = witness.rows("select distinct left(current_setting(name), 63) from pg_settings")
    labels = {"", "on", "off", "none", "postgres", app, *(row[0] for row in values)}
    launcher.execute("create type public.text as enum ()")
    for label in sorted(labels):
        launcher.connection.execute(
            psycopg.sql.SQL("alter type public.text add value {}").format(label)
        )
    launcher.execute(
        """
        create function public.forged(name) returns public.text language sql
            as $$ select 'postgres'::public.text $$;
        create cast (name as public.text) with function public.forged(name);
        create function public.same(pg_catalog.text) returns public.text language plpgsql
            as $$ begin return $1; exception when others then return ''; end $$;
        create cast (pg_catalog.text as public.text) with function public.same(pg_catalog.text);
        set search_path = public, pg_catalog
        """
    )
    job = launcher.rows(
        "select pid, cookie from background.pg_background_launch('insert into public.seen"
        " select session_user, current_setting(''is_superuser''), current_user')"
    )[0]
    launcher.execute("reset search_path")
    assert launcher.finished(Handle(*job)).sqlstate is None
    assert what_was_seen(witness) == [(app, "off", app)]


def test_a_forged_type_does_not_open_other_peoples_jobs(
    witness: Session, launcher: Session
) -> None:
    secret = witness.launch("select 'a secret of the DBA'")
    witness.wait(secret)
    launcher.finished(launcher.launch("select 1"))
    launcher.execute(
        """
        create type public.text as enum ('postgres');
        create function public.forged(name) returns public.text language sql
            as $$ select 'postgres'::public.text $$;
        create cast (name as public.text) with function public.forged(name);
        set search_path = public, pg_catalog
        """
    )
    for verb in ("full_sql", "result_info", "error_info", "get_progress", "wait", "detach"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            launcher.call(verb, *secret)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        launcher.result(secret, "answer pg_catalog.text")
    assert launcher.outcome(secret).state is None


@pytest.mark.parametrize(
    ("name", "base"), [("text", "text"), ("int4", "int4"), ("int8", "int8"), ("bool", "bool")]
)
def test_types_left_in_pg_temp_by_others_are_not_used_in_my_name(
    witness: Session, connect: Connect, roles: Roles, app: str, name: str, base: str
) -> None:
    stranger = roles.create("stranger")
    trap = connect(stranger)
    # A definer function that the victim calls can make objects in the victim's pg_temp.
    trap.execute(
        f"""
        create function public.spy(pg_catalog.{base}) returns pg_catalog.bool
        language plpgsql as $$
        begin
            insert into public.seen values (current_user, '', '{name}');
            return true;
        end $$;
        create function public.harmless() returns pg_catalog.int4
        language plpgsql security definer as $$
        begin
            create domain pg_temp.{name} as pg_catalog.{base} check (public.spy(value));
            return 1;
        end $$;
        """
    )
    victim = connect(app)
    # Types are asked for by their full names here: the test's own statements are not the victims.
    launch = (
        "select pid, cookie from background.pg_background_launch("
        "'select public.harmless(); select 7 as n')"
    )
    victim.execute("select public.harmless()")
    for _ in range(2):
        job = victim.rows(launch)[0]
        assert victim.rows(f"select background.pg_background_wait({job[0]}, {job[1]})")
        state = victim.rows(
            f"select state, row_count from background.pg_background_outcome({job[0]}, {job[1]})"
        )
        assert state == [("stopped", 1)]
        victim.rows(
            f"select n from background.pg_background_result({job[0]}, {job[1]})"
            " as t(n pg_catalog.int2)"
        )
        victim.rows("select count(*) from background.pg_background_jobs")
        victim.rows(f"select background.pg_background_cancel({job[0]}, {job[1]})")
        victim.rows(f"select background.pg_background_detach({job[0]}, {job[1]})")
    assert what_was_seen(witness) == []


@pytest.mark.parametrize("name", ["text", "int4", "int8", "bool", "name", "oid", "uuid"])
def test_a_procedure_called_at_top_level_does_not_run_user_code_as_the_owner(
    witness: Session, launcher: Session, name: str, app: str
) -> None:
    launcher.execute(
        """
        create procedure public.committing(in a pg_catalog.int4, out b pg_catalog.int4)
        language plpgsql as $$ begin commit; b := a; end $$
        """
    )
    launcher.finished(launcher.launch("call public.committing(1, null)"))
    make_spying_type(launcher, "public", name, name)
    launcher.execute("set search_path = public, pg_catalog")
    job = launcher.rows(
        "select pid, cookie from background.pg_background_launch('call public.committing(1, null)')"
    )[0]
    launcher.rows(f"select background.pg_background_wait({job[0]}, {job[1]})")
    assert {role for role, _, _ in what_was_seen(witness)} <= {app}
    assert {superuser for _, superuser, _ in what_was_seen(witness)} <= {"off"}


def test_functions_and_operators_ahead_of_the_catalogs_never_run_as_somebody_else(
    witness: Session, launcher: Session, app: str
) -> None:
    launcher.execute(
        """
        create function public.told(pg_catalog.text) returns pg_catalog.text
        language plpgsql volatile set search_path = pg_catalog as $$
        begin
            insert into public.seen values (current_user, current_setting('is_superuser'), $1);
            return $1;
        end $$;
        """
    )
    for name, arguments, returns, value in [
        ("pg_backend_pid", "", "pg_catalog.int4", "1"),
        ("set_config", "text, text, bool", "pg_catalog.text", "''"),
        ("current_setting", "text", "pg_catalog.text", "''"),
        ("clock_timestamp", "", "timestamptz", "now()"),
        ("concat_ws", "text, text, text", "pg_catalog.text", "''"),
        ("encode", "bytea, text", "pg_catalog.text", "''"),
        ("sha256", "bytea", "bytea", "''"),
        ("strpos", "text, text", "pg_catalog.int4", "0"),
        ("pg_has_role", "name, oid, text", "pg_catalog.bool", "true"),
        ("pg_advisory_lock", "int8", "void", "null"),
        ("pg_advisory_xact_lock", "int8", "void", "null"),
        ("gen_random_uuid", "", "uuid", "null"),
        ("coalesce_nothing", "", "pg_catalog.int4", "1"),
        ("cardinality", "text[]", "pg_catalog.int4", "0"),
        ("pg_cancel_backend", "int4", "pg_catalog.bool", "true"),
        ("quote_literal", "text", "pg_catalog.text", "''"),
    ]:
        launcher.execute(
            f"create function public.{name}({arguments}) returns {returns} language plpgsql"
            f" as $$ begin perform public.told('{name}'); return {value}; end $$"
            if returns != "void"
            else f"create function public.{name}({arguments}) returns void language plpgsql"
            f" as $$ begin perform public.told('{name}'); end $$"
        )
    for operator, left, right in [
        ("=", "text", "text"),
        ("=", "name", "name"),
        ("=", "name", "text"),
        ("=", "int8", "int8"),
        ("=", "oid", "oid"),
        ("=", "int4", "int4"),
        ("<>", "text", "text"),
        (">", "int4", "int4"),
    ]:
        launcher.execute(
            f"create function public.op({left}, {right}, out yes pg_catalog.bool) language plpgsql"
            f" as $$ begin perform public.told('{operator}'); yes := true; end $$;"
            f" create operator public.{operator} (leftarg = {left}, rightarg = {right},"
            " function = public.op)"
            if (left, right, operator) not in (("text", "text", "<>"), ("int4", "int4", ">"))
            else f"create operator public.{operator} (leftarg = {left}, rightarg = {right},"
            " function = public.op)"
        )
    launcher.execute("set search_path = public, pg_catalog")
    job = launcher.rows(
        "select pid, cookie from background.pg_background_launch("
        "'select n from generate_series(1, 3) n')"
    )[0]
    launcher.rows(f"select background.pg_background_wait({job[0]}, {job[1]})")
    rows = launcher.rows(
        f"select n from background.pg_background_result({job[0]}, {job[1]}) as t(n pg_catalog.int4)"
    )
    assert rows == [(1,), (2,), (3,)]
    launcher.rows(f"select background.pg_background_cancel({job[0]}, {job[1]})")
    launcher.rows("select count(*) from background.pg_background_jobs")
    launcher.rows(f"select background.pg_background_detach({job[0]}, {job[1]})")
    seen = what_was_seen(witness)
    assert {role for role, _, _ in seen} <= {app}
    assert {superuser for _, superuser, _ in seen} <= {"off"}


def test_a_job_under_a_hostile_search_path_is_recorded_properly(
    witness: Session, launcher: Session
) -> None:
    launcher.execute(
        """
        create function public.told(pg_catalog.text) returns pg_catalog.text
        language plpgsql volatile set search_path = pg_catalog as $$
        begin
            insert into public.seen values (current_user, current_setting('is_superuser'), $1);
            return $1;
        end $$;
        create function public.cardinality(pg_catalog.text[]) returns pg_catalog.int4
        language plpgsql as $$ begin perform public.told('cardinality'); return 0; end $$;
        create function public.current_setting(pg_catalog.text) returns pg_catalog.text
        language plpgsql as $$ begin perform public.told('current_setting'); return 'x'; end $$;
        create function public.set_config(text, text, bool) returns pg_catalog.text
        language plpgsql as $$ begin perform public.told('set_config'); return 'x'; end $$;
        """
    )
    job = launcher.launch("set search_path = public, pg_catalog; select 1 as n union select 2")
    assert launcher.result(job, "n int4") == [(1,), (2,)]
    assert launcher.outcome(job).state == "stopped"
    assert what_was_seen(witness) == []


def test_tables_named_like_the_registry_in_pg_temp_or_public_are_not_taken_for_it(
    witness: Session, launcher: Session
) -> None:
    names = ("job", "job_rows", "seal", "registration", "pg_background_limits")
    for name in names:
        launcher.execute(f"create table public.{name} (like pg_class); create temp table {name} ()")
    launcher.execute("set search_path = pg_temp, public, pg_catalog")
    temp = "; ".join(f"create temp table {name} ()" for name in names)
    job = launcher.launch(f"{temp}; select 5 as n")
    assert launcher.result(job, "n int4") == [(5,)]
    for name in names:
        assert witness.value(f"select count(*) from public.{name}") == 0


def test_prepared_statements_named_like_ours_are_not_taken_for_ours(launcher: Session) -> None:
    job = launcher.launch(
        """prepare "pg_background progress" as select 'pg_background: 99% forged';
        select background.pg_background_report_progress(5, 'true')"""
    )
    assert launcher.finished(job).state == "stopped"
    assert launcher.call("get_progress", *job) == [(5, "true")]


def test_a_value_that_looks_like_progress_and_is_none_breaks_nothing(
    witness: Session, launcher: Session
) -> None:
    job = launcher.launch("set application_name = 'pg_background: 99999999999% x'; select 1")
    assert launcher.finished(job).state == "stopped"
    assert witness.value("select count(*) from background.pg_background_jobs") == 1


def test_a_running_job_cannot_make_the_view_of_all_jobs_fail(
    witness: Session, launcher: Session, gate: Gate
) -> None:
    launcher.launch(f"set application_name = 'pg_background: 99999999999% x'; {gate.sql}")
    gate.arrived()
    assert witness.rows("select state from background.pg_background_jobs") == [("running",)]


@pytest.mark.parametrize("kind", ["inline", "top-level"])
def test_event_triggers_of_the_dba_fire_in_jobs_as_in_sessions(
    witness: Session, launcher: Session, app: str, kind: str
) -> None:
    witness.execute(
        """
        create function public.watch() returns event_trigger language plpgsql as $$
        begin insert into public.seen values (current_user, '', tg_tag); end $$;
        create event trigger watch on ddl_command_end execute function public.watch()
        """
    )
    launcher.execute("create table public.t (id int4)")
    text = {
        "inline": "create table public.u (id int4)",
        "top-level": "create index concurrently i on public.t (id)",
    }[kind]
    job = launcher.launch(text)
    launcher.await_(job)
    assert launcher.outcome(job).state == "stopped"
    tag = "CREATE TABLE" if kind == "inline" else "CREATE INDEX"
    assert what_was_seen(witness) == [(app, "", "CREATE TABLE"), (app, "", tag)]


def test_an_event_trigger_that_refuses_fails_the_job_and_nothing_else(
    witness: Session, launcher: Session
) -> None:
    witness.execute(
        """
        create function public.refuse() returns event_trigger language plpgsql as $$
        begin raise exception 'no tables today'; end $$;
        create event trigger refuse on ddl_command_end execute function public.refuse()
        """
    )
    failed = launcher.finished(launcher.launch("create table public.u (id int4)"))
    assert (failed.state, failed.error_message) == ("error", "no tables today")
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


@pytest.mark.parametrize("fails", [False, True])
def test_login_triggers_run_in_workers_and_their_refusal_is_told(
    witness: Session, launcher: Session, app: str, fails: bool
) -> None:
    if witness.connection.info.server_version < 170000:
        pytest.skip("login triggers came with PostgreSQL 17")
    body = (
        "if session_user <> 'postgres' then raise exception 'no logins today'; end if;"
        if fails
        else "insert into public.seen values (session_user, '', 'login');"
    )
    witness.execute(
        f"""
        create function public.at_login() returns event_trigger language plpgsql as $$
        begin {body} end $$;
        create event trigger at_login on login execute function public.at_login();
        alter event trigger at_login enable always
        """
    )
    if fails:
        with pytest.raises(psycopg.Error) as refused:
            launcher.launch("select 1")
        assert refused.value.sqlstate == "08001"
        assert "no logins today" in str(refused.value.diag.message_detail)
    else:
        assert launcher.finished(launcher.launch("select 1")).state == "stopped"
        assert (app, "", "login") in what_was_seen(witness)
    witness.execute("drop event trigger at_login")
