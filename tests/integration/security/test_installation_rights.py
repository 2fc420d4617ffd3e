"""The product is installed where nobody else can lay a hand on it, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tests.fix_db import Roles
from tests.integration.session import Session
from tools.product import build
from tools.servers import Server

EXTENSION = "pg_background_plpy"


class Place:
    """A database without the product, and ways to install it."""

    def __init__(self, server: Server, name: str, folder: Path) -> None:
        self.server = server
        self.name = name
        self.folder = folder
        self.admin = Session(psycopg.connect(server.dsn(name), autocommit=True))
        self.admin.execute("create extension dblink; create extension plpython3u")

    def as_role(self, role: str) -> Session:
        """Open a session of a role."""
        return Session(psycopg.connect(self.server.dsn(self.name, role, role), autocommit=True))

    def by_file(self, schema: str = "background") -> None:
        """Install as psql does."""
        text = build(self.folder, schema).read_text()
        try:
            self.admin.connection.execute(
                sql.SQL(text.replace("{", "{{").replace("}", "}}")).format()
            )
        finally:
            self.admin.connection.execute("rollback")

    def by_extension(self, schema: str = "background") -> None:
        """Install as an extension."""
        self.admin.execute(f"create extension {EXTENSION} schema {schema}")

    def is_empty(self) -> bool:
        """Is the product not there?"""
        empty: bool = self.admin.value(
            "select not exists (select from pg_type where typname = 'pg_background_handle')"
        )
        return empty


@pytest.fixture(params=["file", "extension"])
def place(
    request: pytest.FixtureRequest, server: Server, bare: str, tmp_path: Path
) -> Iterator[Any]:
    """Give a place, with `install` as one of the two ways."""
    if request.param == "extension":
        request.getfixturevalue("extension_folder")
    made = Place(server, bare, tmp_path)
    yield made, made.by_file if request.param == "file" else made.by_extension
    made.admin.close()


@pytest.fixture
def alice(roles: Roles) -> str:
    """Give a plain role."""
    return roles.create("alice")


def is_refused(place: Place, install: Any, *words: str, schema: str = "background") -> None:
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as refused:
        install(schema)
    said = str(refused.value.diag.message_primary) + str(refused.value.diag.message_detail)
    for word in (schema, *words):
        assert word in said
    assert refused.value.diag.message_hint
    assert place.is_empty()


def test_a_schema_of_somebody_who_is_no_superuser_is_refused(place: Any, alice: str) -> None:
    where, install = place
    where.admin.execute(f"create schema background authorization {alice}")
    is_refused(where, install, alice)


def test_schema_public_of_a_database_that_a_user_owns_is_refused(place: Any, alice: str) -> None:
    where, install = place
    where.admin.execute(f"alter database {where.admin.connection.info.dbname} owner to {alice}")
    is_refused(where, install, schema="public")


@pytest.mark.parametrize("through", ["herself", "a group", "everybody", "pg_database_owner"])
def test_a_schema_that_others_may_create_in_is_refused(
    place: Any, alice: str, roles: Roles, through: str
) -> None:
    where, install = place
    grantee = {"herself": alice, "everybody": "public"}.get(through, through)
    if through == "a group":
        grantee = roles.create("group")
        roles.grant(grantee, alice)
    where.admin.execute(f"create schema background; grant create on schema background to {grantee}")
    is_refused(where, install, grantee)
    where.admin.execute(f"revoke create on schema background from {grantee}")
    install()
    assert not where.is_empty()


@pytest.mark.parametrize(
    "name",
    [
        "pg_background_outcome(int4, int4)",
        "pg_background_launch(name)",
        "pg_background_wait_v2(int4)",
    ],
)
def test_a_function_that_waits_for_its_victims_is_found(place: Any, alice: str, name: str) -> None:
    where, install = place
    where.admin.execute(
        f"create schema background; grant create, usage on schema background to {alice}"
    )
    session = where.as_role(alice)
    session.execute(f"create function background.{name} returns int4 language sql as 'select 1'")
    session.close()
    where.admin.execute(f"revoke create on schema background from {alice}")
    is_refused(where, install, "pg_background_")


def test_a_superusers_own_schema_may_hold_other_things(place: Any) -> None:
    where, install = place
    where.admin.execute(
        "create schema background; create table background.notes (text text);"
        " create function background.helper() returns int4 language sql as 'select 1'"
    )
    install()
    assert not where.is_empty()


def test_what_default_privileges_give_to_others_is_not_given(place: Any, alice: str) -> None:
    where, install = place
    for grantee in (alice, "public"):
        where.admin.execute(
            f"""
            alter default privileges grant all on tables to {grantee};
            alter default privileges grant all on sequences to {grantee};
            alter default privileges grant all on functions to {grantee};
            alter default privileges grant all on types to {grantee};
            """
        )
    if install == where.by_file:
        where.admin.execute(
            f"alter default privileges grant all on schemas to {alice};"
            " alter default privileges grant all on schemas to public"
        )
    else:
        where.admin.execute("create schema background")
    where.admin.execute(f"revoke pgbackground_role from {alice}")
    install()
    # Views and functions that users have are theirs through the role of the users, which she is no member of.
    assert (
        where.admin.rows(
            """
            select 'schema' from pg_namespace n
             where n.nspname = 'background' and has_schema_privilege(%(alice)s, n.oid, 'create, usage')
            union all
            select c.relname::text from pg_class c
             where c.relnamespace in ('background'::regnamespace, 'pgbackground'::regnamespace)
               and c.relkind in ('r', 'v', 'm', 'p')
               and has_table_privilege(
                   %(alice)s, c.oid, 'select, insert, update, delete, truncate, references, trigger')
            union all
            select c.relname::text from pg_class c
             where c.relnamespace in ('background'::regnamespace, 'pgbackground'::regnamespace)
               and case when c.relkind = 'S' then has_sequence_privilege(%(alice)s, c.oid, 'select, usage, update') end
            union all
            select p.oid::regprocedure::text from pg_proc p
             where p.pronamespace in ('background'::regnamespace, 'pgbackground'::regnamespace)
               and has_function_privilege(%(alice)s, p.oid, 'execute')
            """,
            {"alice": alice},
        )
        == []
    )
    where.admin.execute(f"grant usage on schema background to {alice}")
    session = where.as_role(alice)
    for (table,) in where.admin.rows(
        "select oid::regclass::text from pg_class"
        " where relnamespace in ('background'::regnamespace, 'pgbackground'::regnamespace) and relkind = 'r'"
    ):
        for statement in (f"truncate {table}", f"select from {table}", f"delete from {table}"):
            with pytest.raises(errors.InsufficientPrivilege):
                session.execute(statement)
    session.close()
