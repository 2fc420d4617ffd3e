"""A job has the rights of its launcher: no more, no less, whichever way the launcher came by them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Database, Roles, unique_name

Session = psycopg.Connection[Any]
Row = Any

# What a worker is: its login, its role, whose rights it has, and what its own settings say.
FACTS = """
    select session_user::text, current_user::text, current_setting('is_superuser'),
           (select string_agg(rolname, ',' order by rolname) from pg_roles
             where pg_has_role(oid, 'usage') and rolname not like 'pg\\_%'),
           current_setting('work_mem'), current_setting('row_security')
"""
COLUMNS = "login text, role text, superuser text, rights text, work_mem text, row_security text"


def launch(session: Session, text: str) -> Row:
    query = "select * from background.pg_background_launch(%s)"
    return session.execute(query, [text]).fetchall()[0]


def result(session: Session, job: Row, columns: str) -> list[Row]:
    query = f"select * from background.pg_background_result(%s, %s) as t({columns})"
    return session.execute(sql.SQL(query), job).fetchall()


def facts_of_a_job(session: Session) -> Row:
    return result(session, launch(session, FACTS), COLUMNS)[0]


def own_facts(session: Session) -> Row:
    return session.execute(FACTS).fetchall()[0]


def owned_function(db: Database, owner: str, body: str, *, returns: str) -> str:
    """Make a SECURITY DEFINER function of a role, which everybody may call; return its name."""
    name = unique_name("function")
    admin = db.connect()
    admin.execute(
        sql.SQL(
            "create function {name}() returns {returns} language plpgsql security definer as {body};"
            " alter function {name}() owner to {owner}"
        ).format(
            name=sql.Identifier(name),
            returns=sql.SQL(returns),
            body=sql.Literal(body),
            owner=sql.Identifier(owner),
        )
    )
    return name


def launching_function(db: Database, owner: str) -> str:
    return owned_function(
        db,
        owner,
        f"begin return background.pg_background_launch($job${FACTS}$job$); end",
        returns="background.pg_background_handle",
    )


def call(session: Session, function: str) -> Row:
    query = sql.SQL("select * from {}()").format(sql.Identifier(function))
    return session.execute(query).fetchall()[0]


def test_a_job_of_a_plain_login_is_what_its_launcher_is(db: Database, roles: Roles) -> None:
    app = roles.create()
    session = db.connect(app)
    facts = facts_of_a_job(session)
    assert facts == own_facts(session)
    assert facts[:3] == (app, app, "off")


def test_a_job_after_set_role_has_that_role_and_its_launchers_login(
    db: Database, roles: Roles
) -> None:
    app, team = roles.create(), roles.create("team")
    roles.grant(team, app)
    session = db.connect(app)
    session.execute(sql.SQL("set role {}").format(sql.Identifier(team)))
    facts = facts_of_a_job(session)
    assert facts == own_facts(session)
    assert facts[:2] == (app, team)


def test_a_job_after_set_session_authorization_is_the_role_that_was_set(
    db: Database, roles: Roles
) -> None:
    app = roles.create()
    session = db.connect()
    assert facts_of_a_job(session)[:3] == ("postgres", "postgres", "on")
    session.execute(sql.SQL("set session authorization {}").format(sql.Identifier(app)))
    facts = facts_of_a_job(session)
    assert facts == own_facts(session)
    assert facts[:3] == (app, app, "off")
    session.execute("reset session authorization")
    assert facts_of_a_job(session)[:3] == ("postgres", "postgres", "on")


def test_a_job_of_a_superuser_is_a_superuser(db: Database) -> None:
    session = db.connect()
    assert facts_of_a_job(session) == own_facts(session)


def test_a_superuser_who_set_a_lesser_role_gets_a_job_with_that_role(
    db: Database, roles: Roles
) -> None:
    app = roles.create()
    session = db.connect()
    session.execute(sql.SQL("set role {}").format(sql.Identifier(app)))
    facts = facts_of_a_job(session)
    assert facts == own_facts(session)
    assert facts[1:3] == (app, "off")


def test_a_job_of_a_security_definer_function_is_the_functions_owner(
    db: Database, roles: Roles
) -> None:
    owner, caller = roles.create("owner"), roles.create("caller", member=False)
    job = call(db.connect(caller), launching_function(db, owner))
    facts = result(db.connect(owner), job, COLUMNS)[0]
    assert facts[:3] == (owner, owner, "off")
    assert caller not in facts[3]


def test_a_superuser_who_calls_a_security_definer_function_lends_it_nothing(
    db: Database, roles: Roles
) -> None:
    owner = roles.create("owner")
    session = db.connect()
    facts = result(session, call(session, launching_function(db, owner)), COLUMNS)[0]
    assert facts[:3] == (owner, owner, "off")


def test_a_definer_function_called_under_its_owners_role_lends_nothing_either(
    db: Database, roles: Roles
) -> None:
    owner = roles.create("owner")
    session = db.connect()
    function = launching_function(db, owner)
    session.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
    facts = result(session, call(session, function), COLUMNS)[0]
    assert facts[:3] == (owner, owner, "off")


def test_a_trigger_of_a_definer_function_launches_as_the_functions_owner(
    db: Database, roles: Roles
) -> None:
    owner, caller = roles.create("owner"), roles.create("caller", member=False)
    function = owned_function(
        db,
        owner,
        "begin perform background.pg_background_launch("
        "'insert into seen select session_user, current_user'); return null; end",
        returns="trigger",
    )
    admin = db.connect()
    admin.execute("create table seen (login text, role text); create table touched (id int4)")
    admin.execute(
        sql.SQL(
            "grant insert on seen to {}; grant insert on touched to {};"
            " create trigger t after insert on touched execute function {}()"
        ).format(sql.Identifier(owner), sql.Identifier(caller), sql.Identifier(function))
    )
    db.connect(caller).execute("insert into touched values (1)")
    job = admin.execute("select pid, cookie from background.pg_background_jobs").fetchone()
    assert job is not None
    assert admin.execute("select background.pg_background_wait(%s, %s)", job).fetchone() == (True,)
    assert admin.execute("select * from seen").fetchall() == [(owner, owner)]


def test_a_definer_function_of_a_role_that_cannot_log_in_says_so(
    db: Database, roles: Roles
) -> None:
    owner = roles.create("group")
    db.connect().execute(sql.SQL("alter role {} nologin").format(sql.Identifier(owner)))
    function = launching_function(db, owner)
    session = db.connect(roles.create())
    with pytest.raises(errors.SqlclientUnableToEstablishSqlconnection) as refused:
        call(session, function)
    assert owner in str(refused.value.diag.message_primary)
    assert "not permitted to log in" in str(refused.value.diag.message_detail)
    assert session.execute("select count(*) from background.pg_background_jobs").fetchone() == (0,)


def test_index_expressions_of_another_role_run_as_that_role_in_a_superusers_maintenance(
    db: Database, roles: Roles
) -> None:
    owner = roles.create("owner")
    admin = db.connect()
    admin.execute("create table seen (login text, role text); grant insert on seen to public")
    admin.execute(
        sql.SQL("create schema mine authorization {}").format(sql.Identifier(owner)),
    )
    session = db.connect(owner)
    session.execute(
        """
        create table mine.t (id int4);
        create function mine.spy(int4) returns int4 language plpgsql immutable as $$
        begin
            perform background.pg_background_launch('insert into seen select session_user, current_user');
            return $1;
        end $$;
        create index spying on mine.t (mine.spy(id));
        """
    )
    session.execute("insert into mine.t values (1)")
    admin.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
    admin.execute("reindex table mine.t")
    admin.execute("reset role")
    admin.execute("reindex table mine.t")
    jobs = admin.execute("select pid, cookie from background.pg_background_jobs").fetchall()
    assert len(jobs) == 3
    for job in jobs:
        admin.execute("select background.pg_background_wait(%s, %s)", job)
    assert set(admin.execute("select * from seen").fetchall()) == {(owner, owner)}


def test_a_role_without_the_products_role_may_not_launch(db: Database, roles: Roles) -> None:
    session = db.connect(roles.create("nobody", member=False))
    with pytest.raises(errors.InsufficientPrivilege):
        launch(session, "select 1")


def test_row_security_by_a_setting_holds_in_the_job(db: Database, roles: Roles) -> None:
    app = roles.create()
    admin = db.connect()
    admin.execute(
        """
        create table account (tenant text, amount int4);
        insert into account values ('blue', 1), ('red', 2);
        alter table account enable row level security;
        create policy own on account using (tenant = current_setting('app.tenant_id', true));
        grant select on account to public
        """
    )
    session = db.connect(app)
    query = "select tenant from account"
    session.execute("set app.tenant_id = 'blue'")
    assert result(session, launch(session, query), "tenant text") == [("blue",)]
    session.execute("set app.tenant_id = 'red'")
    assert result(session, launch(session, query), "tenant text") == [("red",)]
    session.execute("reset app.tenant_id")
    assert result(session, launch(session, query), "tenant text") == []


def test_row_security_by_role_holds_in_the_job(db: Database, roles: Roles) -> None:
    blue, red = roles.create("blue"), roles.create("red")
    admin = db.connect()
    admin.execute(
        """
        create table account (owner name);
        alter table account enable row level security;
        create policy own on account using (owner = current_user);
        grant select on account to public
        """
    )
    admin.execute("insert into account select unnest(%s::name[])", [[blue, red]])
    for role in (blue, red):
        session = db.connect(role)
        assert result(session, launch(session, "select owner from account"), "o name") == [(role,)]


def test_settings_of_the_role_hold_in_the_job(db: Database, roles: Roles) -> None:
    app = roles.create()
    admin = db.connect()
    admin.execute(sql.SQL("alter role {} set work_mem = '7777kB'").format(sql.Identifier(app)))
    session = db.connect(app)
    assert facts_of_a_job(session)[4] == own_facts(session)[4] == "7777kB"


def test_default_privileges_hold_for_what_a_job_creates(db: Database, roles: Roles) -> None:
    app, reader = roles.create(), roles.create("reader")
    admin = db.connect()
    admin.execute(
        sql.SQL(
            "create schema mine authorization {app};"
            " alter default privileges for role {app} in schema mine grant select on tables to {reader}"
        ).format(app=sql.Identifier(app), reader=sql.Identifier(reader))
    )
    session = db.connect(app)
    job = launch(session, "create table mine.made (id int4)")
    session.execute("select background.pg_background_wait(%s, %s)", job)
    found = admin.execute(
        "select pg_get_userbyid(relowner), has_table_privilege(%s, oid, 'select')"
        " from pg_class where oid = 'mine.made'::regclass",
        [reader],
    ).fetchone()
    assert found == (app, True)


def test_a_role_given_by_alter_role_is_not_forced_on_a_session_that_left_it(
    db: Database, roles: Roles
) -> None:
    app, team = roles.create(), roles.create("team")
    roles.grant(team, app)
    db.connect().execute(
        sql.SQL("alter role {} set role = {}").format(sql.Identifier(app), sql.Identifier(team))
    )
    session = db.connect(app)
    assert facts_of_a_job(session)[:2] == (app, team)
    session.execute("set role none")
    assert facts_of_a_job(session)[:2] == (app, app)


@pytest.mark.parametrize(
    "statement", ["reset role", "set role none", "reset session authorization"]
)
def test_a_job_that_resets_its_role_gets_its_launchers_login_and_no_more(
    db: Database, roles: Roles, statement: str
) -> None:
    app, team = roles.create(), roles.create("team")
    roles.grant(team, app)
    session = db.connect(app)
    session.execute(sql.SQL("set role {}").format(sql.Identifier(team)))
    job = launch(session, f"{statement}; {FACTS}")
    assert result(session, job, COLUMNS)[0][:3] == (app, app, "off")


@pytest.mark.parametrize(
    "statement",
    ["set role postgres", "set session authorization postgres", "set local role postgres"],
)
def test_a_job_cannot_take_a_role_that_its_launcher_cannot(
    db: Database, roles: Roles, statement: str
) -> None:
    session = db.connect(roles.create())
    with pytest.raises(psycopg.Error) as refused:
        result(session, launch(session, f"{statement}; {FACTS}"), COLUMNS)
    assert refused.value.sqlstate in ("42501", "22023")


def test_a_job_of_a_definer_function_cannot_reset_itself_into_the_caller(
    db: Database, roles: Roles
) -> None:
    owner = roles.create("owner")
    text = f"reset role; reset session authorization; {FACTS}"
    function = owned_function(
        db,
        owner,
        f"begin return background.pg_background_launch($job${text}$job$); end",
        returns="background.pg_background_handle",
    )
    session = db.connect()
    facts = result(session, call(session, function), COLUMNS)[0]
    assert facts[:3] == (owner, owner, "off")


def test_what_a_job_leaves_behind_does_not_reach_the_next_job_of_the_link(
    db: Database, roles: Roles
) -> None:
    app, team = roles.create(), roles.create("team")
    roles.grant(team, app)
    session = db.connect(app)
    first = launch(
        session,
        f"set role {team}; set work_mem = '9999kB'; set app.tenant_id = 'blue';"
        " create temp table left_behind (id int4); select pg_backend_pid()",
    )
    pid = result(session, first, "pid int4")[0][0]
    second = launch(
        session,
        "select pg_backend_pid(), current_user::text, current_setting('work_mem'),"
        " current_setting('app.tenant_id', true), to_regclass('left_behind')::text",
    )
    facts = result(session, second, "pid int4, role text, mem text, tenant text, left_behind text")
    assert facts[0][0] == pid
    assert facts[0][1] == app
    assert facts[0][2] != "9999kB"
    assert facts[0][3] in (None, "")
    assert facts[0][4] is None
