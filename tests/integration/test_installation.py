"""Both ways of installing give the same objects, in any schema, and leave nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.fix_db import Database, Roles, unique_name
from tests.integration.verbs import Session
from tools.local_server import find_bin
from tools.product import build, install, run_sql_file
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

# Internal functions that pin no search_path, each for a reason that does not go away by itself.
UNPINNED = {
    # A procedure that commits may not have settings of its own (2D000).
    "_run": "commits",
    "_run_top_level": "commits",
    "_rest": "commits",
    "_run_one": "commits",
    "_leave_snapshot": "commits",
    "_commit": "commits",
    "_guard": "commits",
    "_start_queued": "commits",
    "_keep_time_outs": "commits",
    # The planner can only put a function without settings into the query.
    "_is_overdue": "names its operators in full",
    # The job's own SQL, or its rows, are seen under the search_path of the job.
    "_apply_settings": "sets the search_path of the job",
    "_execute": "runs the job's SQL",
    "_perform": "runs the job's SQL",
    "_with_params": "runs the job's SQL",
    "_keep_rows": "runs the job's SQL",
    "_literals": "writes the job's rows",
    "_plain_literal": "writes the job's rows",
    "_columns": "looks at the job's rows",
    # What a reader does runs under the reader's own search_path, and the launcher's must travel.
    "_records": "makes rows of the reader's types",
    "_open_result": "runs for a reader",
    "_open_query": "launches",
}


@pytest.fixture
def bare(server: Server) -> Iterator[str]:
    """Give the name of a database without the product."""
    with server.database(unique_name("bare")) as name:
        yield name


@pytest.fixture
def extension_folder(
    server: Server,
    tmp_path: Path,
    extension_folder_alone: None,  # noqa: ARG001
) -> Iterator[Path]:
    """Put the extension's files where the server looks for them, and take them away again."""
    if server.local is None:
        pytest.skip("CREATE EXTENSION needs files on the server's disk: only on a local server")
    program = find_bin() / "pg_config"
    run = subprocess.run([str(program), "--sharedir"], capture_output=True, text=True, check=True)
    folder = Path(run.stdout.strip()) / "extension"
    if not os.access(folder, os.W_OK):
        pytest.skip(f"CREATE EXTENSION needs files in {folder}, which this user may not write")
    if list(folder.glob(f"{EXTENSION}*")):
        pytest.skip(f"{folder} holds {EXTENSION} already: it is not ours to replace")
    build(tmp_path)
    copied = []
    try:
        for file in tmp_path.glob(f"{EXTENSION}*"):
            copied.append(folder / file.name)
            shutil.copyfile(file, copied[-1])
            copied[-1].chmod(0o644)
        yield tmp_path
    finally:
        for file in copied:
            file.unlink(missing_ok=True)


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
    by_extension = objects(server, bare, "background")
    by_file = objects(server, db.name, "background")
    assert len(by_file) > 100, "the comparison compares nothing"
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

    assert plain(objects(server, bare, "elsewhere")) == plain(
        objects(server, db.name, "background")
    )


def test_two_installations_in_one_database_do_not_meddle(
    server: Server, bare: str, roles: Roles
) -> None:
    role = roles.create()
    for schema in ("one", "two"):
        install(server.dsn(bare), schema)
    for schema in ("one", "two", "one"):
        works(server, bare, schema, role)
    with psycopg.connect(server.dsn(bare)) as connection:
        counts = connection.execute(
            "select (select count(*) from one.job), (select count(*) from two.job)"
        ).fetchone()
    assert counts == (2, 1)


def test_installing_twice_is_refused_and_changes_nothing(server: Server, bare: str) -> None:
    install(server.dsn(bare))
    before = objects(server, bare, "background")
    with pytest.raises(Exception, match="already exists"):
        install(server.dsn(bare))
    assert objects(server, bare, "background") == before


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


def test_uninstalling_leaves_nothing_but_the_role(
    server: Server, bare: str, tmp_path: Path, roles: Roles
) -> None:
    def everything() -> list[str]:
        with psycopg.connect(server.dsn(bare)) as connection:
            return [row[0] for row in connection.execute(EVERYTHING).fetchall()]

    with psycopg.connect(server.dsn(bare)) as connection:
        connection.execute("create extension plpython3u")
        connection.execute("create extension dblink")
    before = everything()
    install_file = build(tmp_path)
    run_sql_file(server.dsn(bare), install_file)
    works(server, bare, "background", roles.create())
    assert everything() != before
    run_sql_file(server.dsn(bare), tmp_path / "uninstall.sql")
    assert everything() == before
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
           and p.proname !~ '^_' and obj_description(p.oid, 'pg_proc') is null
        union all
        select c.oid::regclass::text from pg_class c
         where c.relnamespace = 'background'::regnamespace and c.relkind in ('r', 'v', 'c')
           and c.relname !~ '^_'
           and obj_description(c.oid, 'pg_class') is null
           and obj_description(c.reltype, 'pg_type') is null
        """)
        == []
    )


def test_nothing_is_granted_to_public(admin: Session) -> None:
    assert (
        admin.rows("""
        select p.oid::regprocedure::text
          from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
         where p.pronamespace = 'background'::regnamespace and a.grantee = 0
        union all
        select c.oid::regclass::text
          from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
         where c.relnamespace = 'background'::regnamespace and a.grantee = 0
        union all
        select n.nspname
          from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
         where n.nspname = 'background' and a.grantee = 0
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
    assert [name for (name,) in refused if "privileges" not in name] == []


def test_every_function_pins_its_search_path(admin: Session) -> None:
    unpinned = admin.rows("""
        select p.proname, l.lanname, p.prosecdef from pg_proc p join pg_language l on l.oid = p.prolang
         where p.pronamespace = 'background'::regnamespace
           and not exists (select from unnest(p.proconfig) c where c ~ '^search_path=')
        """)
    assert [name for name, _, definer in unpinned if definer] == [], "security definer"
    # The public verbs must see their caller's search_path, because it travels with a job;
    # _source_* return a constant.
    internal = {
        name for name, _, _ in unpinned if name.startswith("_") and not name.startswith("_source_")
    }
    assert internal == set(UNPINNED)
