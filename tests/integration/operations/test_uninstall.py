"""uninstall.sql takes away what the installation made, and nothing that belongs to others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Roles
from tests.integration.operations.removal import files, run, schemas
from tests.integration.operations.test_installation import EVERYTHING, objects, works
from tools.product import EXTENSION
from tools.servers import Server

# Objects of others that need ours, how the error names them, and how they go.
DEPENDENTS = {
    "view public.their_view": (
        "create view their_view as select cookie from background.pg_background_jobs",
        "drop view their_view",
    ),
    "column handle of table public.their_table": (
        "create table their_table (handle background.pg_background_handle)",
        "drop table their_table",
    ),
    "function public.their_function(background.pg_background_handle)": (
        "create function their_function(background.pg_background_handle) returns int4 language sql as 'select 1'",
        "drop function their_function",
    ),
    "default value for column allowed of table public.their_default": (
        "create table their_default (allowed bool default (background.pg_background_get_progress(1, 2) is null))",
        "drop table their_default",
    ),
    "function background.their_own()": (
        "create function background.their_own() returns int4 language sql as 'select 1'",
        "drop function background.their_own",
    ),
    "table background.their_notes": (
        "create table background.their_notes (note text)",
        "drop table background.their_notes",
    ),
}


@pytest.fixture
def admin(server: Server, bare: str) -> Iterator[psycopg.Connection[Any]]:
    """Give a session of the superuser in a database without the product."""
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute("create extension plpython3u")
        connection.execute("create extension dblink")
        yield connection


def everything(server: Server, database: str) -> list[str]:
    with psycopg.connect(server.dsn(database)) as connection:
        return [text for (text,) in connection.execute(EVERYTHING).fetchall()]


def test_what_depends_on_it_is_listed_and_keeps_it_from_being_removed(
    server: Server, bare: str, admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    texts = files(tmp_path)
    run(server, bare, texts.install)
    for create, _ in DEPENDENTS.values():
        admin.execute(sql.SQL(create))
    before = everything(server, bare)
    with pytest.raises(errors.DependentObjectsStillExist) as refused:
        run(server, bare, texts.uninstall)
    assert (refused.value.diag.message_detail or "").splitlines() == sorted(DEPENDENTS)
    assert everything(server, bare) == before
    for name, (_, drop) in DEPENDENTS.items():
        with pytest.raises(errors.DependentObjectsStillExist) as refused:
            run(server, bare, texts.uninstall)
        assert name in (refused.value.diag.message_detail or "").splitlines()
        admin.execute(sql.SQL(drop))
    run(server, bare, texts.uninstall)
    assert "background" not in schemas(server, bare)


@pytest.mark.parametrize("schema", ["public", "tools"])
def test_a_schema_that_was_there_before_stays_with_all_that_others_have_in_it(
    server: Server,
    bare: str,
    admin: psycopg.Connection[Any],
    tmp_path: Path,
    roles: Roles,
    schema: str,
) -> None:
    admin.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
    admin.execute(
        sql.SQL(f"""
        create table {schema}.customers (id int4 primary key, name text);
        insert into {schema}.customers values (1, 'Ada');
        create type {schema}.address as (street text);
        create function {schema}._helper() returns int4 language sql as 'select 1';
        create view {schema}.pg_background_notes as select name from {schema}.customers;
        grant usage on schema {schema} to public""")
    )
    before = everything(server, bare)
    objects_before = objects(server, bare, schema)
    texts = files(tmp_path, schema)
    run(server, bare, texts.install)
    works(server, bare, schema, roles.create())
    gone = set(before) - set(everything(server, bare))
    assert {text.partition("(")[0] for text in gone} == {"right on dblink_get_connections"}
    role = roles.create("stranger", member=False)
    with psycopg.connect(server.dsn(bare, role, role)) as stranger:
        # What belongs to others keeps its rights as well.
        assert stranger.execute(sql.SQL(f"select {schema}._helper()")).fetchall() == [(1,)]
    run(server, bare, texts.uninstall)
    assert everything(server, bare) == before
    # A right that was taken and given back is written down where before it was understood.
    changed = set(objects(server, bare, schema)) ^ set(objects_before)
    assert not [
        text for text in changed if not re.search("^schema acl|dblink_get_connections", text)
    ]
    assert admin.execute(sql.SQL(f"select name from {schema}.customers")).fetchall() == [("Ada",)]


def test_what_came_into_a_schema_of_before_later_stays_too(
    server: Server, bare: str, admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    admin.execute("create schema tools")
    texts = files(tmp_path, "tools")
    run(server, bare, texts.install)
    admin.execute("create table tools.later (id int4)")
    run(server, bare, texts.uninstall)
    assert [text for text in everything(server, bare) if "tools" in text] == [
        "relation tools.laterr",
        "schema tools",
        "type tools.later",
        "type tools.later[]",
    ]


def test_no_function_of_others_in_its_schema_is_granted_to_its_users(
    server: Server, bare: str, tmp_path: Path, roles: Roles
) -> None:
    """CREATE EXTENSION dblink puts dblink_connect_u into public, and PUBLIC may not call it."""
    texts = files(tmp_path, "public")
    run(server, bare, texts.install)
    role = roles.create()
    with (
        psycopg.connect(server.dsn(bare, role, role)) as user,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        user.execute("select dblink_connect_u('x', 'user=postgres')")


def test_it_says_where_the_product_is_when_it_is_not_here(
    server: Server, bare: str, tmp_path: Path
) -> None:
    texts = files(tmp_path)
    with pytest.raises(errors.UndefinedObject) as refused:
        run(server, bare, texts.uninstall)
    assert "in no schema of this database" in str(refused.value.diag.message_hint)
    run(server, bare, files(tmp_path, "elsewhere").install)
    with pytest.raises(errors.UndefinedObject) as refused:
        run(server, bare, texts.uninstall)
    assert "SCHEMA=elsewhere" in str(refused.value.diag.message_hint)
    assert "elsewhere" in schemas(server, bare)


@pytest.mark.usefixtures("extension_folder")
@pytest.mark.parametrize("by", ["uninstall.sql", "DROP EXTENSION"])
def test_extensions_that_came_along_stay_with_what_others_made_of_them(
    server: Server, bare: str, tmp_path: Path, by: str
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as admin:
        admin.execute(
            sql.SQL(f"""
            create schema background;
            create extension {EXTENSION} schema background cascade;
            create server pg_background_loopback foreign data wrapper dblink_fdw;
            create user mapping for public server pg_background_loopback options (password 'secret');
            create view keys as select * from background.dblink_get_pkey('keys');
            create table seen (key background.dblink_pkey_results);
            create function theirs() returns int4 language plpython3u as 'return 1'""")
        )
        if by == "DROP EXTENSION":
            admin.execute(f"drop extension {EXTENSION}")
        else:
            run(server, bare, files(tmp_path).uninstall)
        left = admin.execute("select extname from pg_extension order by 1").fetchall()
        assert left == [("dblink",), ("plpgsql",), ("plpython3u",)]
        assert admin.execute("select srvname, umoptions from pg_user_mappings").fetchall() == [
            ("pg_background_loopback", ["password=secret"])
        ]
        admin.execute("table seen")
        assert admin.execute("select theirs()").fetchall() == [(1,)]
        assert admin.execute(
            "select count(*) from pg_proc where proname ~ '^pg_background'"
        ).fetchall() == [(0,)]
        public = "select has_function_privilege('public', 'background.dblink_get_connections()', 'execute')"
        # DROP EXTENSION runs nothing of ours that could give this back.
        assert admin.execute(sql.SQL(public)).fetchall() == [(by == "uninstall.sql",)]


@pytest.mark.usefixtures("extension_folder")
def test_an_extension_that_others_depend_on_is_not_removed(
    server: Server, bare: str, tmp_path: Path
) -> None:
    with psycopg.connect(server.dsn(bare), autocommit=True) as admin:
        admin.execute("create schema background")
        admin.execute(f"create extension {EXTENSION} schema background cascade")
        admin.execute("create view their_view as select cookie from background.pg_background_jobs")
        with pytest.raises(errors.DependentObjectsStillExist) as refused:
            run(server, bare, files(tmp_path).uninstall)
        assert refused.value.diag.message_detail == "view public.their_view"
        assert admin.execute("table their_view").fetchall() == []
