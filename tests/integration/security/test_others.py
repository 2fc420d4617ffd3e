"""Jobs of other people: not seen, not touched, not crowded out; and names that try to be more than names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Database, Roles, unique_name
from tests.fix_wait import Gate
from tests.integration.session import Handle, Session, nothing_known
from tools.product import install
from tools.servers import Server

Connect = Callable[..., Session]

HOSTILE_NAMES = [
    "with space",
    "quote'quote",
    'double"quote',
    "back\\slash",
    "x' host=evil.example user='postgres",
    "x\\' user=postgres \\",
    "line\nbreak",
    "tab\there",
    "host=/tmp user=postgres",
    "postgres://postgres@localhost",
    "$user",
    "ünï→cödé",
    "-c role=postgres",
    "a=b",
    "%p",
]


@pytest.fixture
def victim(connect: Connect, roles: Roles) -> Session:
    """Give a session of another plain role, whose jobs nobody else may see."""
    return connect(roles.create("victim"))


@pytest.fixture
def stranger(connect: Connect, roles: Roles) -> Session:
    """Give a session of a plain role that has nothing to do with the others."""
    return connect(roles.create("stranger"))


def test_nothing_of_other_peoples_jobs_can_be_read(victim: Session, stranger: Session) -> None:
    jobs = [
        victim.launch("select 'secret row'", label="secret label"),
        victim.launch("do $$ begin raise exception 'secret error'; end $$"),
        victim.launch("select background.pg_background_report_progress(7, 'secret progress')"),
    ]
    for job in jobs:
        victim.wait(job)
    assert stranger.rows("select * from background.pg_background_jobs") == []
    assert stranger.rows("select * from background.pg_background_list") == []
    assert stranger.rows("select * from background.pg_background_activity") == []
    for job in jobs:
        assert stranger.outcome(job) == nothing_known(*job)
        for verb in ("full_sql", "result_info", "error_info", "get_progress", "wait", "detach"):
            with pytest.raises(errors.InsufficientPrivilege) as refused:
                stranger.call(verb, *job)
            assert "secret" not in str(refused.value)
        with pytest.raises(errors.InsufficientPrivilege) as refused:
            stranger.result(job)
        assert "secret" not in str(refused.value)
        for verb in ("drain", "wait_any"):
            array = f"array[({job.pid}, {job.cookie})::background.pg_background_handle]"
            try:
                rows = stranger.rows(f"select * from background.pg_background_{verb}({array}, 100)")
            except errors.InsufficientPrivilege:
                continue
            assert "secret" not in str(rows)


def test_leaky_functions_in_a_query_of_the_jobs_view_see_only_own_jobs(
    admin: Session, victim: Session, launcher: Session
) -> None:
    victim.wait(victim.launch("select 'secret'"))
    launcher.wait(launcher.launch("select 'mine'"))
    admin.execute("create table seen (what text); grant all on seen to public")
    launcher.execute(
        """
        create function public.leak(text) returns bool language plpgsql cost 0.0000001 as $$
        begin insert into seen values ($1); return true; end $$
        """
    )
    launcher.rows("select from background.pg_background_jobs where public.leak(sql)")
    assert admin.rows("select what from seen") == [("select 'mine'",)]


def test_pg_stat_activity_shows_a_worker_to_strangers_without_its_sql(
    victim: Session, stranger: Session, gate: Gate
) -> None:
    job = victim.launch(f"{gate.sql}; select 'secret'", label="a label")
    gate.arrived()
    seen = stranger.backend(job.pid)
    assert seen is not None
    assert seen["query"] == "<insufficient privilege>"
    assert seen["application_name"] == "pg_background [a label]"


def test_a_cookie_is_not_to_be_found_in_what_everybody_can_see(
    admin: Session, victim: Session, stranger: Session, gate: Gate
) -> None:
    job = victim.launch(gate.sql)
    gate.arrived()
    key = admin.value("select lock_key from pgbackground.job where cookie = %s", [job.cookie])
    assert key != job.cookie
    visible = str(stranger.rows("select * from pg_locks"))
    visible += str(stranger.rows("select * from pg_stat_activity"))
    assert str(job.cookie) not in visible
    halves = {job.cookie >> 32, job.cookie & 0xFFFFFFFF}
    locks = stranger.rows(
        "select classid::int8, objid::int8 from pg_locks where pid = %s", [job.pid]
    )
    assert not halves & {number for lock in locks for number in lock}


def test_cookies_and_lock_keys_have_no_order_and_do_not_repeat(
    admin: Session, launcher: Session
) -> None:
    for _ in range(20):
        launcher.wait(launcher.launch("select 1"))
    rows = admin.rows("select cookie, lock_key from pgbackground.job order by launched_at")
    numbers = [number for row in rows for number in row]
    assert len(set(numbers)) == 40
    cookies = [row[0] for row in rows]
    assert cookies != sorted(cookies)
    assert all(0 < number < 2**63 for number in numbers)
    assert max(numbers).bit_length() > 55


def test_a_guessed_handle_says_no_more_than_that_it_is_wrong(
    victim: Session, stranger: Session, gate: Gate
) -> None:
    job = victim.launch(gate.sql)
    gate.arrived()
    for guess in (Handle(job.pid, 1), Handle(job.pid, -1), Handle(job.pid, job.cookie ^ 1)):
        with pytest.raises(errors.ObjectNotInPrerequisiteState):
            stranger.wait(guess, 1)
    for guess in (Handle(0, 0), Handle(-1, 5), Handle(1, 5)):
        with pytest.raises(errors.UndefinedObject):
            stranger.wait(guess, 1)


@pytest.mark.parametrize("grace_ms", [0, 50])
def test_jobs_of_others_cannot_be_canceled_or_detached(
    victim: Session, stranger: Session, gate: Gate, grace_ms: int
) -> None:
    job = victim.launch(f"{gate.sql}; select 4 as n", label="victims")
    gate.arrived()
    with pytest.raises(errors.InsufficientPrivilege):
        stranger.cancel(job, grace_ms)
    with pytest.raises(errors.InsufficientPrivilege):
        stranger.detach(job)
    for verb in ("cancel_all", "detach_all", "purge"):
        assert stranger.call(verb) == [(0,)]
    assert stranger.call("cancel_by_label", "%", grace_ms) == [(0,)]
    gate.open()
    assert victim.result(job, "n int4") == [(4,)]


def test_a_definer_function_does_not_reach_the_jobs_of_the_session_it_is_called_in(
    admin: Session, launcher: Session, roles: Roles, connect: Connect, gate: Gate
) -> None:
    thief = roles.create("thief")
    admin.execute(f"grant create, usage on schema public to {thief}")
    connect(thief).execute(
        """
        create function public.thief() returns text language plpgsql security definer as $$
        declare got text := '';
        begin
            got := got || (select count(*) from background.pg_background_list());
            return got;
        exception when others then
            return sqlstate;
        end $$;
        create function public.thief_all() returns int4 language sql security definer as $$
            select background.pg_background_cancel_all() + background.pg_background_detach_all()
        $$;
        create function public.thief_rows() returns int8 language sql security definer as $$
            select count(*) from background.pg_background_jobs
        $$;
        create function public.thief_wait(int4, int8) returns text language plpgsql security definer as $$
        begin
            return background.pg_background_wait($1, $2, 1)::text;
        exception when others then
            return sqlstate;
        end $$
        """
    )
    job = launcher.launch(f"{gate.sql}; select 5 as n")
    gate.arrived()
    assert launcher.value("select public.thief_all()") == 0
    assert launcher.value("select public.thief_rows()") == 0
    assert launcher.value("select public.thief_wait(%s, %s)", job) == "42501"
    gate.open()
    assert launcher.result(job, "n int4") == [(5,)]


def test_a_member_of_the_owners_role_may_do_what_the_owner_may(
    victim: Session, stranger: Session, roles: Roles, gate: Gate
) -> None:
    roles.grant(victim.value("select user"), stranger.value("select user"))
    job = victim.launch(gate.sql)
    gate.arrived()
    assert stranger.job(job)["state"] == "running"
    stranger.cancel(job)
    assert victim.finished(job).state == "canceled"


def test_pg_signal_backend_may_cancel_and_still_reads_nothing(
    victim: Session, stranger: Session, roles: Roles, gate: Gate
) -> None:
    roles.grant("pg_signal_backend", stranger.value("select user"))
    job = victim.launch(gate.sql)
    gate.arrived()
    with pytest.raises(errors.InsufficientPrivilege):
        stranger.call("full_sql", *job)
    stranger.cancel(job)
    assert victim.finished(job).state == "canceled"


def test_a_limit_per_role_keeps_places_for_the_others(
    admin: Session, victim: Session, stranger: Session, gate: Gate
) -> None:
    admin.execute("insert into background.pg_background_limits values ('role', null, 2)")
    for _ in range(2):
        stranger.launch(gate.sql)
    gate.arrived(2)
    with pytest.raises(errors.ConfigurationLimitExceeded):
        stranger.launch("select 1")
    assert victim.finished(victim.launch("select 1")).state == "stopped"


def test_the_dbas_limits_are_not_moved_by_a_users_settings(
    admin: Session, stranger: Session, connect: Connect, gate: Gate
) -> None:
    admin.execute("insert into background.pg_background_limits values ('role', null, 1)")
    stranger.execute("set pg_background.max_workers = 1000")
    stranger.launch(gate.sql)
    gate.arrived()
    other = connect(stranger.value("select user"))
    other.execute("set pg_background.max_workers = 1000")
    for session in (stranger, other):
        with pytest.raises(errors.ConfigurationLimitExceeded):
            session.launch("select 1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_workers", "1; drop table x"),
        ("max_workers", "-1"),
        ("max_workers", "99999999999999999999"),
        ("max_workers", "' or true"),
        ("worker_timeout", "'"),
        ("worker_timeout", "nan"),
        ("worker_timeout", "inf"),
        ("worker_timeout", "1 century"),
        ("default_queue_size", "9" * 400),
        ("default_queue_size", "0x10"),
        ("when_full", "drop"),
        ("when_full", "error\n"),
    ],
)
def test_a_hostile_value_of_a_setting_is_refused_by_name(
    launcher: Session, name: str, value: str
) -> None:
    launcher.rows("select set_config(%s, %s, false)", [f"pg_background.{name}", value])
    with pytest.raises(errors.InvalidParameterValue) as refused:
        launcher.launch("select 1")
    assert f"pg_background.{name}" in str(refused.value)
    launcher.execute(f"reset pg_background.{name}")
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


@pytest.mark.parametrize("value", HOSTILE_NAMES)
def test_values_of_settings_reach_the_job_as_they_are(launcher: Session, value: str) -> None:
    launcher.rows("select set_config('app.value', %s, false)", [value])
    job = launcher.launch("select current_setting('app.value')")
    assert launcher.result(job) == [(value,)]


@pytest.mark.parametrize("value", HOSTILE_NAMES)
def test_search_paths_and_labels_reach_the_job_as_they_are(launcher: Session, value: str) -> None:
    launcher.rows(
        "select set_config('search_path', %s, false)", ['"' + value.replace('"', '""') + '"']
    )
    job = launcher.launch("select current_setting('search_path')", label=value)
    assert launcher.result(job) == launcher.rows("select current_setting('search_path')")
    assert launcher.outcome(job).label == value


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_roles_are_only_names(db: Database, name: str) -> None:
    role = unique_name(name)[-8:] + name
    admin = db.connect()
    admin.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
    try:
        admin.execute(sql.SQL("grant pgbackground_role to {}").format(sql.Identifier(role)))
        session = Session(db.connect())
        session.connection.execute(
            sql.SQL("set session authorization {}").format(sql.Identifier(role))
        )
        job = session.launch("select session_user::text, current_user::text")
        assert session.result(job, "login text, role text") == [(role, role)]
        session.close()
        member = Session(db.connect())
        member.connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        job = member.launch("select session_user::text, current_user::text")
        assert member.result(job, "login text, role text") == [("postgres", role)]
        member.close()
    finally:
        drop_role(admin, role)


def drop_role(admin: psycopg.Connection[Any], role: str) -> None:
    for statement in ("drop owned by {} cascade", "drop role {}"):
        admin.execute(sql.SQL(statement).format(sql.Identifier(role)))


@pytest.fixture(params=['a\'b\\c "d" host=x', "x' user=nobody dbname='postgres", "line\nbreak="])
def odd_database(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """Give the name of a database that a careless connection string would stumble over."""
    with server.database(unique_name("x") + request.param) as name:
        install(server.dsn(name))
        yield name


def test_names_of_databases_are_only_names(server: Server, odd_database: str) -> None:
    with psycopg.connect(server.dsn(odd_database), autocommit=True) as connection:
        session = Session(connection)
        job = session.launch("select current_database()::text, session_user::text")
        assert session.result(job, "db text, login text") == [(odd_database, "postgres")]


def test_a_foreign_server_of_another_owner_does_not_get_my_jobs(
    admin: Session, launcher: Session, stranger: Session
) -> None:
    name = stranger.value("select user")
    admin.execute(f"grant usage on foreign data wrapper dblink_fdw to {name}")
    stranger.execute(
        """
        create server pg_background_loopback foreign data wrapper dblink_fdw
            options (host '127.0.0.1', port '1');
        create user mapping for public server pg_background_loopback
        """
    )
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_a_foreign_server_named_like_a_connection_string_does_not_get_my_jobs(
    admin: Session, launcher: Session
) -> None:
    # What dblink is given it takes for the name of a foreign server first, cut to 63 bytes.
    host = admin.value("select split_part(current_setting('unix_socket_directories'), ',', 1)")
    port = admin.value("select current_setting('port')")
    for begin in (
        f"host='{host}' port='{port}' connect_timeout='10' fallback_application_name='pg_background'",
        f"fallback_application_name='pg_background' host='{host}' port='{port}'",
    ):
        admin.connection.execute(
            sql.SQL(
                "create server {} foreign data wrapper dblink_fdw"
                " options (host '127.0.0.1', port '1')"
            ).format(sql.Identifier(begin[:63]))
        )
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_a_role_renamed_while_its_job_runs_keeps_its_job(
    admin: Session, launcher: Session, roles: Roles, gate: Gate
) -> None:
    old = launcher.value("select user")
    new = unique_name("renamed")
    job = launcher.launch(f"{gate.sql}; select current_user::text")
    gate.arrived()
    admin.execute(f"alter role {old} rename to {new}")
    roles.created[roles.created.index(old)] = new
    gate.open()
    assert launcher.result(job) == [(new,)]
    assert launcher.job(job)["role"] == new
    again = launcher.launch("select session_user::text")
    assert launcher.result(again) == [(new,)]


def test_a_name_that_goes_to_another_role_takes_no_jobs_along(
    admin: Session, db: Database, roles: Roles, gate: Gate
) -> None:
    first = roles.create("first")
    session = Session(db.connect(first))
    job = session.launch(f"{gate.sql}; select 'secret'")
    gate.arrived()
    renamed = unique_name("renamed")
    admin.execute(f"alter role {first} rename to {renamed}")
    roles.created[roles.created.index(first)] = renamed
    admin.execute(f"create role {first} login; grant pgbackground_role to {first}")
    roles.created.append(first)
    thief = Session(db.connect(first))
    with pytest.raises(errors.InsufficientPrivilege):
        thief.call("full_sql", *job)
    assert thief.rows("select * from background.pg_background_jobs") == []
    gate.open()
    assert session.result(job) == [("secret",)]


def test_a_role_dropped_while_its_job_runs_leaves_a_job_that_ends_and_is_told(
    admin: Session, db: Database, gate: Gate
) -> None:
    name = unique_name("dropped")
    admin.execute(f"create role {name} login; grant pgbackground_role to {name}")
    session = Session(db.connect(name))
    job = session.launch(f"{gate.sql}; select 1")
    gate.arrived()
    admin.execute(f"drop role {name}")
    gate.open()
    assert admin.wait(job, 20000)
    assert admin.outcome(job).state in ("stopped", "error")
    with pytest.raises(psycopg.Error) as refused:
        session.launch("select 1")
    assert refused.value.sqlstate is not None
    assert refused.value.sqlstate != "XX000"


def test_a_role_that_loses_the_products_role_loses_it_at_once(
    admin: Session, launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(f"{gate.sql}; select 1")
    gate.arrived()
    admin.execute(f"revoke pgbackground_role from {launcher.value('select user')}")
    with pytest.raises(errors.InsufficientPrivilege):
        launcher.launch("select 1")
    gate.open()
    assert admin.wait(job, 20000)
    assert admin.outcome(job).state in ("stopped", "error")
