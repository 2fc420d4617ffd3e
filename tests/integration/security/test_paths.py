"""Whatever lies in a schema of the search path, nobody runs it by using the product."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.fix_db import Roles, unique_name
from tests.integration.security.shadows import cast_shadows, seen
from tests.integration.session import Handle, Session
from tools.product import build, run_sql_file
from tools.servers import Server

Connect = Callable[..., Session]
HOME = "alice_objects"
LEVELS = ["read committed", "repeatable read"]


@pytest.fixture
def alice(admin: Session, connect: Connect, roles: Roles) -> Session:
    """Give a session of a plain role that has filled a schema of its own with shadows."""
    name = roles.create("alice")
    admin.execute(
        f"create schema {HOME} authorization {name}; grant usage on schema {HOME} to public"
    )
    session = connect(name)
    cast_shadows(session, HOME)
    return session


class Verbs:
    """The verbs in words that mean the same under any path: the test itself must not run a shadow."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def rows(self, call: str, *arguments: Any) -> list[Any]:
        """Call one of the product's functions, or read a view."""
        return self.session.rows(f"select * from background.pg_background_{call}", arguments)

    def launch(self, text: str, label: str | None = None) -> Handle:
        """Start a job."""
        return Handle(
            *self.rows("launch(%s::pg_catalog.text, 0, %s::pg_catalog.text)", text, label)[0]
        )

    def wait(self, job: Handle) -> None:
        """Wait for a job's end."""
        assert self.rows("wait(%s, %s)", *job) == [(True,)]

    def outcome(self, job: Handle) -> Any:
        """Read a job's fate."""
        return self.rows("outcome(%s, %s)", *job)[0]

    def state(self, job: Handle) -> Any:
        """Read what has become of a job."""
        return self.outcome(job)[2]

    def sqlstate(self, job: Handle) -> Any:
        """Read the SQLSTATE of a job's error."""
        return self.outcome(job)[8]


def hostile_path(admin: Session, whose: str) -> None:
    """Put the shadows before the catalogs for a whole database, or for the superuser in it."""
    database = sql.Identifier(admin.connection.info.dbname)
    scope = {
        "database": sql.SQL("alter database {}"),
        "role": sql.SQL("alter role postgres in database {}"),
    }[whose].format(database)
    admin.connection.execute(
        sql.SQL("{} set search_path = {}, pg_catalog, public").format(scope, sql.Identifier(HOME))
    )


@pytest.fixture(params=["database", "role", "session"])
def dba(request: pytest.FixtureRequest, admin: Session, alice: Session, connect: Connect) -> Verbs:  # noqa: ARG001
    """Give a superuser's verbs under a path that the shadows come first on."""
    if request.param != "session":
        hostile_path(admin, request.param)
    session = connect("postgres")
    if request.param == "session":
        session.execute(f"set search_path = {HOME}, pg_catalog, public")
    return Verbs(session)


def everything_about(verbs: Verbs, job: Handle) -> None:
    """Ask all that can be asked of an ended job."""
    verbs.wait(job)
    for call in (
        "outcome(%s, %s)",
        "result_info(%s, %s)",
        "error_info(%s, %s)",
        "full_sql(%s, %s)",
        "get_progress(%s, %s)",
        "messages(%s, %s)",
        "wait(%s, %s, 10)",
        "cancel(%s, %s)",
        "cancel(%s, %s, 10)",
    ):
        verbs.rows(call, *job)
    verbs.rows("wait_any(array[row(%s, %s)::background.pg_background_handle], 1000)", *job)


@pytest.mark.parametrize("level", LEVELS)
def test_no_verb_runs_what_lies_on_the_path(admin: Session, dba: Verbs, level: str) -> None:
    dba.session.execute(f"set default_transaction_isolation = '{level}'")
    with dba.session.connection.transaction():
        job = dba.launch("select 7 as n, 'x' as t")
        everything_about(dba, job)
        text = "result(%s, %s) as (n pg_catalog.int4, t pg_catalog.text)"
        assert dba.rows(text, *job) == [(7, "x")]
        assert dba.rows("result(%s, %s) as (n pg_catalog.int8, t pg_catalog.varchar)", *job) == [
            (7, "x")
        ]
        assert dba.rows("result_json(%s, %s)", *job) == [({"n": 7, "t": "x"},)]
        wide = dba.launch("select " + ", ".join("1" for _ in range(40)))
        columns = ", ".join(f"c{n} pg_catalog.int4" for n in range(40))
        assert dba.rows(f"result(%s, %s) as ({columns})", *wide) == [(1,) * 40]
        everything_about(dba, dba.launch("do 'begin raise sqlstate ''22012''; end'"))
        everything_about(dba, dba.launch("create table public.made (); drop table public.made"))
        everything_about(dba, Handle(*dba.rows("submit('values (1)', 0, 'label')")[0]))
        text = "launch_params('select $1::pg_catalog.int4', '[7]', 'label')"
        everything_about(dba, Handle(*dba.rows(text)[0]))
        rowless = dba.launch("do 'begin null; end'")
        assert dba.rows("result(%s, %s) as (tag pg_catalog.text)", *rowless) == [("DO",)]
        text = "run_query('do ''begin null; end''', 0, 10000) as (tag pg_catalog.text)"
        assert dba.rows(text) == [("DO",)]
        assert dba.rows("run('select 7', 0, 10000)")[0][2] == "stopped"
        assert dba.rows("run_query('select 7', 0, 10000) as (n pg_catalog.int4)") == [(7,)]
        dba.rows(
            "list() as (pid pg_catalog.int4, cookie pg_catalog.int8, launched_at pg_catalog.timestamptz,"
            " user_id pg_catalog.oid, queue_size pg_catalog.int4, state pg_catalog.text,"
            " sql_preview pg_catalog.text, last_error pg_catalog.text, consumed pg_catalog.bool, label pg_catalog.text)"
        )
        dba.rows("drain(array[row(%s, %s)::background.pg_background_handle], 1000)", *wide)
        for call in (
            "list",
            "activity",
            "jobs",
            "metrics",
            "stats()",
            "check()",
            "cancel_all()",
            "cancel_by_label('%%', 0)",
            "detach(%s, %s)",
            "purge()",
            "detach_all()",
        ):
            dba.rows(call, *(job if "%s" in call else ()))
    for verb in ("grant", "revoke"):
        dba.rows(f"{verb}_privileges('pg_monitor')")
    assert seen(admin, HOME) == []


@pytest.mark.parametrize("level", LEVELS)
def test_looking_at_a_job_whose_worker_is_gone_runs_nothing_of_others(
    admin: Session, dba: Verbs, level: str
) -> None:
    dba.session.execute(f"set default_transaction_isolation = '{level}'")
    with dba.session.connection.transaction():
        job = dba.launch("select pg_catalog.pg_sleep(60)")
        admin.execute("select pg_terminate_backend(%s)", [job.pid])
        admin.until_gone(job.pid)
        assert dba.sqlstate(job) == "57P01"
        everything_about(dba, job)
        dba.rows("jobs")
        dba.rows("metrics")
        next_job = dba.launch("select 1")
        everything_about(dba, next_job)
    assert seen(admin, HOME) == []


@pytest.mark.parametrize("level", LEVELS)
def test_canceling_runs_nothing_of_others(admin: Session, dba: Verbs, level: str) -> None:
    dba.session.execute(f"set default_transaction_isolation = '{level}'")
    with dba.session.connection.transaction():
        for call in ("cancel(%s, %s)", "cancel(%s, %s, 5000)"):
            job = dba.launch("select pg_catalog.pg_sleep(60)")
            dba.rows(call, *job)
            dba.wait(job)
            assert dba.state(job) == "canceled"
        job = dba.launch("select pg_catalog.pg_sleep(60)", "slow")
        assert dba.rows("cancel_by_label('slo_', 0)") == [(1,)]
        dba.wait(job)
        assert dba.rows("run('select pg_catalog.pg_sleep(60)', 0, 50)")[0][2] == "canceled"
    assert seen(admin, HOME) == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_time_out_runs_nothing_of_others(admin: Session, dba: Verbs, level: str) -> None:
    dba.session.execute(
        f"set default_transaction_isolation = '{level}'; set pg_background.worker_timeout = '300ms'"
    )
    with dba.session.connection.transaction():
        for text in (
            "select pg_catalog.pg_sleep(60)",
            "do 'begin commit; perform pg_catalog.pg_sleep(60); end'",
        ):
            job = dba.launch(text)
            dba.wait(job)
            assert dba.sqlstate(job) == "57014"
    assert seen(admin, HOME) == []


def test_jobs_at_top_level_run_nothing_of_others(admin: Session, dba: Verbs) -> None:
    dba.session.execute(
        "create table public.t ();"
        " create procedure public.committing(inout n pg_catalog.int4) language plpgsql as 'begin commit; end'"
    )
    for text in ("vacuum (verbose) public.t", "call public.committing(7)", "analyze public.t"):
        job = dba.launch(text)
        dba.session.execute("call background.pg_background_await(%s, %s, 20000)", job)
        assert dba.state(job) == "stopped"
        everything_about(dba, job)
    assert seen(admin, HOME) == []


@pytest.mark.parametrize("level", LEVELS)
def test_the_queue_runs_nothing_of_others(admin: Session, dba: Verbs, level: str) -> None:
    dba.session.execute(
        f"set default_transaction_isolation = '{level}';"
        " set pg_background.when_full = queue; set pg_background.max_workers = 1"
    )
    with dba.session.connection.transaction():
        jobs = [dba.launch("select pg_catalog.pg_sleep(0.2)") for _ in range(3)]
        jobs.append(dba.launch("vacuum"))
        for job in jobs:
            dba.wait(job)
            assert dba.state(job) == "stopped"
    assert seen(admin, HOME) == []


def test_progress_runs_nothing_of_others(admin: Session, dba: Verbs) -> None:
    report = "perform background.pg_background_report_progress(5, 'so far')"
    for text in (
        f"do $$ begin {report}; end $$",
        f"do $$ begin {report}; raise sqlstate '22012'; end $$",
    ):
        job = dba.launch(text)
        dba.wait(job)
        assert dba.rows("get_progress(%s, %s)", *job) == [(5, "so far")]
    assert seen(admin, HOME) == []


@pytest.mark.parametrize("level", [*LEVELS, "serializable"])
def test_a_path_that_a_job_sets_itself_is_left_with_the_job(
    admin: Session,
    alice: Session,  # noqa: ARG001
    connect: Connect,
    level: str,
) -> None:
    dba = Verbs(connect("postgres"))
    dba.session.execute(
        f"set default_transaction_isolation = '{level}'; set pg_background.when_full = queue;"
        " set pg_background.max_workers = 1"
    )
    path = f"set search_path = {HOME}, pg_catalog"
    for text in (
        "select 7",
        "do 'begin raise sqlstate ''22012''; end'",
        "declare c cursor with hold for select 7",
        "create table public.made ()",
    ):
        jobs = [dba.launch(f"{path}; {text}"), dba.launch("select pg_catalog.pg_backend_pid()")]
        for job in jobs:
            everything_about(dba, job)
    assert seen(admin, HOME) == []


def test_an_operator_that_the_catalog_has_not_makes_nobody_a_superuser(
    admin: Session, connect: Connect, roles: Roles
) -> None:
    name = roles.create("alice")
    admin.execute(f"grant create, usage on schema public to {name}")
    alice = connect(name)
    alice.execute(
        f"""
        create function public.climb(int4, numeric) returns float8 language plpgsql as $$
        begin
            alter role {name} superuser;
            return 0;
        exception when insufficient_privilege then
            return 0;
        end $$;
        create operator public.* (leftarg = int4, rightarg = numeric, function = public.climb)
        """
    )
    dba = connect("postgres")
    job = dba.launch("select 7 as n")
    dba.wait(job)
    with dba.connection.transaction():
        dba.execute("set transaction isolation level repeatable read")
        assert dba.outcome(job).state == "stopped"
        dba.call("result_info", *job)
    assert admin.value("select rolsuper from pg_roles where rolname = %s", [name]) is False


@pytest.fixture
def trapped(server: Server, roles: Roles) -> Any:
    """Give a database without the product, with a plain role's shadows on its path, and a superuser's session."""
    name = roles.create("alice")
    with server.database(unique_name("bare")) as database:
        admin = Session(psycopg.connect(server.dsn(database), autocommit=True))
        admin.execute("create extension dblink; create extension plpython3u")
        admin.execute(f"grant create, usage on schema public to {name}")
        alice = Session(psycopg.connect(server.dsn(database, name, name), autocommit=True))
        cast_shadows(alice, "public")
        alice.close()
        yield admin, database
        admin.close()


@pytest.mark.parametrize("path", ['"$user", public', "public, pg_catalog"])
def test_installing_and_uninstalling_run_nothing_of_others(
    server: Server, trapped: tuple[Session, str], tmp_path: Path, path: str
) -> None:
    admin, database = trapped
    install_file = build(tmp_path)
    admin.execute(f"alter role postgres in database {database} set search_path = {path}")
    run_sql_file(server.dsn(database), install_file)
    run_sql_file(server.dsn(database), tmp_path / "uninstall.sql")
    assert seen(admin, "public") == []
