"""Both ways of installing give the same objects, in any schema, and leave nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Database, Roles
from tests.integration.session import Session
from tools.product import InstallError, build, install, run_sql_file
from tools.servers import Server

EXTENSION = "pg_background_plpy"
ODD_SCHEMA = "Back ground-2"

# Every object of a schema with all that defines it, one text a row; the schema's name is left out.
OBJECTS = """
with s as (select oid, quote_ident(nspname) as name from pg_namespace where nspname = %(schema)s),
found (text) as (
    select 'routine ' || pg_get_functiondef(p.oid) || ' acl ' || coalesce(p.proacl::text, '')
           || ' comment ' || coalesce(obj_description(p.oid, 'pg_proc'), '')
      from pg_proc p, s where p.pronamespace = s.oid
    union all
    select 'relation ' || c.relname || ' kind ' || c.relkind::text || ' acl ' || coalesce(c.relacl::text, '')
           || ' options ' || coalesce(c.reloptions::text, '')
           || ' comment ' || coalesce(obj_description(c.oid, 'pg_class'), '')
           || case when c.relkind = 'v' then pg_get_viewdef(c.oid) else '' end
           || case when c.relkind = 'i' then pg_get_indexdef(c.oid) else '' end
      from pg_class c, s where c.relnamespace = s.oid and c.relkind <> 't'
    union all
    select 'column ' || a.attrelid::regclass || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
           || ' ' || a.attnum || ' ' || a.attnotnull
           || ' default ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
           || ' comment ' || coalesce(col_description(a.attrelid, a.attnum), '')
      from pg_attribute a join pg_class c on c.oid = a.attrelid
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum, s
     where c.relnamespace = s.oid and c.relkind <> 't' and a.attnum > 0 and not a.attisdropped
    union all
    select 'constraint ' || k.conrelid::regclass || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
      from pg_constraint k, s where k.connamespace = s.oid
    union all
    select 'type ' || t.typname || ' ' || t.typtype::text || ' acl ' || coalesce(t.typacl::text, '')
           || ' comment ' || coalesce(obj_description(t.oid, 'pg_type'), '')
      from pg_type t, s where t.typnamespace = s.oid
    union all
    select 'trigger ' || pg_get_triggerdef(t.oid)
      from pg_trigger t join pg_class c on c.oid = t.tgrelid, s
     where c.relnamespace = s.oid and not t.tgisinternal
    union all
    select 'schema acl ' || coalesce(n.nspacl::text, '') from pg_namespace n, s where n.oid = s.oid
)
select f.text, s.name from found f, s
"""

INTERNALS = "pgbackground"
# Internal functions that pin no search_path, each for a reason that does not go away by itself.
UNPINNED = {
    # A procedure that commits may not have settings of its own (2D000).
    "run": "commits",
    "run_one": "commits",
    "run_top_level": "commits",
    "work_after": "commits",
    "keep_clock": "commits",
    "tick": "commits",
    "new_transaction": "commits",
    "commit": "commits",
    "let_go": "commits",
    "start_queued": "commits",
    "tidy_up": "discards, which no function with settings may",
    # Parsed when they were made, so that the view of the metrics takes them in.
    "owner_id": "inlined",
    "owner_name": "inlined",
    # The library's own, in C.
    "dblink": "in C",
    "dblink_connect_u": "in C",
    "dblink_disconnect": "in C",
    "dblink_send_query": "in C",
    "dblink_is_busy": "in C",
    "dblink_get_result": "in C",
    # The job's own SQL, or its rows, are seen under the search_path of the job.
    "apply_settings": "sets the search_path of the job",
    "execute": "runs the job's SQL",
    "perform": "runs the job's SQL",
    "with_params": "runs the job's SQL",
    "end_held_cursors": "runs the job's SQL",
    "keep_rows": "runs the job's SQL",
    "literals": "writes the job's rows",
    "plain_literal": "writes the job's rows",
    "columns": "looks at the job's rows",
    # What a reader does runs under the reader's own search_path, and the launcher's must travel.
    "records": "makes rows of the reader's types",
    "open_result": "runs for a reader",
    "open_query": "launches",
}


def objects(server: Server, database: str, schema: str) -> list[str]:
    """Return every object of a schema in a database, as text without the schema's name."""
    with psycopg.connect(server.dsn(database)) as connection:
        rows = connection.execute(OBJECTS, {"schema": schema}).fetchall()
    return sorted(re.sub(rf"(?<!\w){re.escape(name)}\.", "", text) for text, name in rows)


def works(server: Server, database: str, schema: str, role: str) -> None:
    """Check that a plain role can run a job in a database."""
    with psycopg.connect(server.dsn(database, role, role), autocommit=True) as connection:
        name = sql.Identifier(schema).as_string()
        text = f"select pid, cookie from {name}.pg_background_launch('select 42, ''x''')"
        handle = connection.execute(sql.SQL(text)).fetchone()
        text = f"select * from {name}.pg_background_result(%s, %s) as t(a int4, b text)"
        assert connection.execute(sql.SQL(text), handle).fetchall() == [(42, "x")]
        call = f"call {name}.pg_background_await(%s, %s)"
        connection.execute(sql.SQL(call), handle)


@pytest.mark.usefixtures("extension_folder")
def test_create_extension_and_install_sql_give_the_same_objects(
    server: Server, bare: str, db: Database
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute("create extension plpython3u")
        connection.execute("create extension dblink")
        connection.execute("create schema background")
        connection.execute(f"create extension {EXTENSION} schema background")
    for schema, least in (("background", 30), (INTERNALS, 100)):
        by_extension = objects(server, bare, schema)
        by_file = objects(server, db.name, schema)
        assert len(by_file) > least, "the comparison compares nothing"
        assert by_extension == by_file


@pytest.mark.usefixtures("extension_folder")
@pytest.mark.parametrize("schema", ["elsewhere", ODD_SCHEMA])
def test_the_extension_works_in_any_schema(
    server: Server, bare: str, roles: Roles, schema: str
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        name = sql.Identifier(schema)
        connection.execute("create extension dblink")
        connection.execute(sql.SQL("create schema {}").format(name))
        connection.execute(
            sql.SQL("create extension {} schema {} cascade").format(sql.SQL(EXTENSION), name)
        )
    works(server, bare, schema, roles.create())
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute(f"drop extension {EXTENSION}")
    assert len(objects(server, bare, schema)) == 1, "the schema itself and nothing in it"
    assert objects(server, bare, INTERNALS) == []


@pytest.mark.parametrize("schema", ["elsewhere", ODD_SCHEMA])
def test_install_sql_works_in_any_schema(
    server: Server, bare: str, roles: Roles, schema: str
) -> None:
    install(server.dsn(bare), schema)
    works(server, bare, schema, roles.create())


def test_installing_into_another_schema_gives_the_same_objects(
    server: Server, bare: str, db: Database
) -> None:
    install(server.dsn(bare), "elsewhere")

    def plain(texts: list[str]) -> list[str]:
        # The hash stands for the text, and the text names the schema.
        texts = [text.replace("elsewhere", "background") for text in texts]
        return sorted(re.sub(r"pg_background [0-9a-f]{16}", "pg_background HASH", t) for t in texts)

    for here, there in (("elsewhere", "background"), (INTERNALS, INTERNALS)):
        assert plain(objects(server, bare, here)) == plain(objects(server, db.name, there))


@pytest.mark.parametrize("second", ["background", "elsewhere"])
def test_a_second_installation_in_a_database_is_refused_and_changes_nothing(
    server: Server, bare: str, roles: Roles, second: str
) -> None:
    install(server.dsn(bare))
    before = everything(server, bare)
    contents = [objects(server, bare, schema) for schema in ("background", INTERNALS)]
    with pytest.raises(InstallError, match="already installed in this database"):
        install(server.dsn(bare), second)
    assert everything(server, bare) == before
    assert [objects(server, bare, schema) for schema in ("background", INTERNALS)] == contents
    works(server, bare, "background", roles.create())


@pytest.mark.usefixtures("extension_folder")
def test_the_extension_is_refused_where_the_file_has_been_installed(
    server: Server, bare: str, roles: Roles
) -> None:
    install(server.dsn(bare))
    before = everything(server, bare)
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute("create schema elsewhere")
        with pytest.raises(errors.DuplicateObject, match="already installed in this database"):
            connection.execute(f"create extension {EXTENSION} schema elsewhere")
        connection.execute("drop schema elsewhere")
    assert everything(server, bare) == before
    works(server, bare, "background", roles.create())


EVERYTHING = """
select 'schema ' || nspname from pg_namespace where nspname !~ '^pg_(toast_)?temp'
union all select 'routine ' || oid::regprocedure from pg_proc
union all select 'relation ' || oid::regclass::text || relkind::text from pg_class
 where relnamespace <> 'pg_toast'::regnamespace
union all select 'type ' || oid::regtype from pg_type where typnamespace <> 'pg_toast'::regnamespace
union all select 'operator ' || oid::regoperator from pg_operator
union all select 'cast ' || castsource::regtype || casttarget::regtype from pg_cast
union all select 'extension ' || extname from pg_extension
union all select 'event trigger ' || evtname from pg_event_trigger
union all select 'server ' || srvname from pg_foreign_server
union all select 'default acl ' || defaclacl::text from pg_default_acl
union all select 'right on ' || p.oid::regprocedure || a::text
  from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 where p.proname ~ '^dblink'
order by 1
"""


def everything(server: Server, database: str) -> list[str]:
    """Return the names of all objects in a database."""
    with psycopg.connect(server.dsn(database)) as connection:
        return [row[0] for row in connection.execute(EVERYTHING).fetchall()]


def test_uninstalling_leaves_nothing_but_the_role(
    server: Server, bare: str, tmp_path: Path, roles: Roles
) -> None:
    with psycopg.connect(server.dsn(bare)) as connection:
        connection.execute("create extension plpython3u")
        connection.execute("create extension dblink")
    before = everything(server, bare)
    install_file = build(tmp_path)
    run_sql_file(server.dsn(bare), install_file)
    works(server, bare, "background", roles.create())
    assert everything(server, bare) != before
    run_sql_file(server.dsn(bare), tmp_path / "uninstall.sql")
    assert everything(server, bare) == before
    with psycopg.connect(server.dsn(bare)) as connection:
        found = connection.execute(
            "select rolcanlogin, rolsuper from pg_roles where rolname = 'pgbackground_role'"
        ).fetchall()
    assert found == [(False, False)]
    run_sql_file(server.dsn(bare), install_file)
    works(server, bare, "background", roles.create())


def test_every_public_object_has_a_comment(admin: Session) -> None:
    assert (
        admin.rows("""
        select p.oid::regprocedure::text from pg_proc p
         where p.pronamespace = 'background'::regnamespace
           and obj_description(p.oid, 'pg_proc') is null
        union all
        select c.oid::regclass::text from pg_class c
         where c.relnamespace = 'background'::regnamespace and c.relkind in ('r', 'v', 'c')
           and obj_description(c.oid, 'pg_class') is null
           and obj_description(c.reltype, 'pg_type') is null
        """)
        == []
    )


def test_the_role_of_the_users_may_call_every_public_function(admin: Session) -> None:
    """Those for the DBA alone are named here."""
    refused = admin.rows("""
        select distinct p.proname from pg_proc p
         where p.pronamespace = 'background'::regnamespace and p.proname ~ '^pg_background'
           and not has_function_privilege('pgbackground_role', p.oid, 'execute') order by 1
        """)
    mine = [name for (name,) in refused if "privileges" not in name]
    assert mine == ["pg_background_import_cron", "pg_background_start_clock_at_login"]


def test_every_function_pins_its_search_path(admin: Session) -> None:
    unpinned = admin.rows("""
        select n.nspname, p.proname, p.prosecdef from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname in ('background', 'pgbackground')
           and not exists (select from unnest(p.proconfig) c where c ~ '^search_path=')
        """)
    assert [name for _, name, definer in unpinned if definer] == [], "security definer"
    # The public verbs must see their caller's search_path, because it travels with a job;
    # source_* return a constant.
    internal = {
        name
        for schema, name, _ in unpinned
        if schema == INTERNALS and not name.startswith("source_")
    }
    assert internal == set(UNPINNED)
