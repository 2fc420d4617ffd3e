"""Who may do what with each object of the schema, as a file that people read and that a test compares.

After a change that is meant to change it: UPDATE_GOLDEN=1 build/venv/bin/python -m pytest
tests/integration/security/test_matrix.py writes the file anew; look at its diff.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.fix_db import Database, Roles, unique_name
from tools.product import find_psql, run_sql_file
from tools.servers import Server

GOLDEN = Path(__file__).parent / "golden" / "privileges.txt"

# Kinds of roles: nothing at all; a user; a member of a user who has jobs; another user; members of the server's own
# roles and of nothing else; the DBA.
SERVERS_OWN = {
    "monitor": "pg_monitor",
    "reader": "pg_read_all_data",
    "writer": "pg_write_all_data",
    "signaler": "pg_signal_backend",
}
KINDS = ("anon", "user", "member", "other", *SERVERS_OWN, "dba")
OBJECTS = """
    with home as (
        select n.oid, n.nspname::text || '.' as name
          from pg_namespace n where n.nspname in ('background', 'pgbackground')
    )
    select 'schema' as kind, rtrim(home.name, '.') as name, home.oid, array['usage', 'create'] as rights
      from home
    union all
    select case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end
           || case when c.relkind not in ('v', 'S') and not c.relrowsecurity then ' (no rls)' else '' end,
           home.name || c.relname, c.oid,
           case c.relkind when 'S' then array['usage', 'select', 'update']
                else array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'] end
      from pg_class c, home where c.relnamespace = home.oid and c.relkind in ('r', 'v', 'S', 'm', 'p', 'f')
    union all
    select case p.prokind when 'p' then 'procedure' else 'function' end
           || case when p.prosecdef then ' (definer)' else '' end,
           home.name || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.oid, array['execute']
      from pg_proc p, home where p.pronamespace = home.oid and not starts_with(p.proname, 'source_')
    union all
    select 'type', home.name || t.typname, t.oid, array['usage']
      from pg_type t left join pg_class c on c.oid = t.typrelid, home
     where t.typnamespace = home.oid and (t.typtype <> 'c' or c.relkind = 'c') and t.typcategory <> 'A'
    union all
    select 'function', 'dblink_get_connections()', 'dblink_get_connections()'::regprocedure, array['execute']
    union all
    select 'function', 'dblink_connect_u(text, text)', 'dblink_connect_u(text,text)'::regprocedure, array['execute']
"""
CHECKS = {
    "schema": "has_schema_privilege",
    "table": "has_table_privilege",
    "view": "has_table_privilege",
    "sequence": "has_sequence_privilege",
    "function": "has_function_privilege",
    "procedure": "has_function_privilege",
    "type": "has_type_privilege",
}


@pytest.fixture
def kinds(roles: Roles) -> dict[str, str]:
    """Give a role of each kind."""
    made = {
        "anon": roles.create("anon", member=False),
        "user": roles.create("user"),
        "member": roles.create("member", member=False),
        "other": roles.create("other"),
        "dba": roles.create("dba", member=False, options="superuser"),
    }
    roles.grant(made["user"], made["member"])
    for kind, role in SERVERS_OWN.items():
        made[kind] = roles.create(kind, member=False)
        roles.grant(role, made[kind])
    return made


def matrix(dsn: str, kinds: dict[str, str]) -> str:
    """Ask the server for every object, right and kind of role."""
    lines = []
    with psycopg.connect(dsn) as connection:
        for kind, name, oid, rights in connection.execute(OBJECTS).fetchall():
            check = CHECKS[kind.split()[0]]
            held = []
            for each in KINDS:
                question = ", ".join(
                    f"{check}(%(role)s, %(oid)s::oid, '{right}')" for right in rights
                )
                answers = connection.execute(
                    f"select {question}".encode(), {"role": kinds[each], "oid": oid}
                ).fetchall()[0]
                yes = [right for right, may in zip(rights, answers, strict=True) if may]
                held.append("all" if len(yes) == len(rights) > 1 else ",".join(yes) or "-")
            lines.append(f"{kind:20} {name}\n" + " " * 21 + row(held))
    header = "What each kind of role may do with each object; - is nothing.\n"
    return header + " " * 21 + row(list(KINDS)) + "\n" + "\n".join(sorted(lines)) + "\n"


def row(cells: list[str]) -> str:
    return " ".join(f"{cell:14}" for cell in cells).rstrip()


def test_the_privilege_matrix_is_the_one_on_file(db: Database, kinds: dict[str, str]) -> None:
    found = matrix(db.dsn, kinds)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_nothing_is_granted_to_public(db: Database) -> None:
    with psycopg.connect(db.dsn) as connection:
        found = connection.execute(
            """
            with home as (select n.oid from pg_namespace n where n.nspname in ('background', 'pgbackground'))
            select p.oid::regprocedure::text
              from home, pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
             where p.pronamespace = home.oid and a.grantee = 0
            union all
            select c.oid::regclass::text
              from home, pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
             where c.relnamespace = home.oid and a.grantee = 0
            union all
            select t.oid::regtype::text
              from home, pg_type t left join pg_class c on c.oid = t.typrelid,
                   aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
             where t.typnamespace = home.oid and a.grantee = 0
               and (t.typtype <> 'c' or c.relkind = 'c') and t.typcategory <> 'A'
            union all
            select n.nspname::text
              from home, pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
             where n.oid = home.oid and a.grantee = 0
            """
        ).fetchall()
    assert found == []


def test_the_tables_are_nobodys_and_have_row_level_security_without_a_policy(
    db: Database, kinds: dict[str, str]
) -> None:
    """Who may read or write all data has rights on every table: him the row level security stops."""
    with psycopg.connect(db.dsn) as connection:
        tables = connection.execute(
            """
            select c.oid::regclass::text, c.relrowsecurity,
                   exists (select from pg_policy p where p.polrelid = c.oid),
                   exists (select from aclexplode(c.relacl) a where a.grantee <> c.relowner),
                   exists (select from unnest(%s::text[]) role where has_table_privilege(role, c.oid,
                       'select, insert, update, delete, truncate, references, trigger'))
              from pg_class c
             where c.relnamespace in ('background'::regnamespace, 'pgbackground'::regnamespace)
               and c.relkind not in ('v', 'S', 'c', 'i')
            """,
            [[kinds[kind] for kind in KINDS if kind not in ("reader", "writer", "dba")]],
        ).fetchall()
    assert len(tables) > 10
    assert [each for each in tables if each[1:] != (True, False, False, False)] == []


def test_everything_belongs_to_one_superuser(db: Database) -> None:
    with psycopg.connect(db.dsn) as connection:
        owners = connection.execute(
            """
            with home as (
                select n.oid, n.nspowner from pg_namespace n where n.nspname in ('background', 'pgbackground')
            )
            select p.proowner from pg_proc p join home on home.oid = p.pronamespace
            union select c.relowner from pg_class c join home on home.oid = c.relnamespace
            union select t.typowner from pg_type t join home on home.oid = t.typnamespace
            union select home.nspowner from home
            """
        ).fetchall()
        assert len(owners) == 1
        assert connection.execute(
            "select rolsuper from pg_roles where oid = %s", owners[0]
        ).fetchone() == (True,)


def test_a_dump_restores_the_privileges(
    server: Server, db: Database, kinds: dict[str, str], tmp_path: Path
) -> None:
    dump = find_dump(db)
    before = matrix(db.dsn, kinds)
    file = tmp_path / "dump.sql"
    text = subprocess.run(
        [dump, "-d", db.dsn], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    file.write_text(text)
    with server.database(unique_name("restored"), "template0") as restored:
        run_sql_file(server.dsn(restored), file)
        assert matrix(server.dsn(restored), kinds) == before


def find_dump(db: Database) -> str:
    """Return a pg_dump that can read this server: not older than it."""
    dump = str(Path(find_psql()).with_name("pg_dump"))
    if not Path(dump).exists():
        dump = shutil.which("pg_dump") or ""
    if dump:
        version = subprocess.run([dump, "--version"], capture_output=True, text=True, check=True)
        major = int(re.findall(r"\d+", version.stdout)[0])
        with psycopg.connect(db.dsn) as connection:
            if major >= connection.info.server_version // 10000:
                return dump
    return pytest.skip("no pg_dump here that reads this server")
