"""Whoever owns the database, and with it schema public, becomes nobody else by the product."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql

from tests.fix_db import Roles
from tests.integration.session import Session

Connect = Callable[..., Session]


@pytest.mark.parametrize("session_is_new", [False, True])
def test_a_schema_put_in_the_place_of_dblinks_catches_nobody(
    admin: Session, connect: Connect, roles: Roles, session_is_new: bool
) -> None:
    name = roles.create("owner")
    database = sql.Identifier(admin.connection.info.dbname)
    admin.connection.execute(
        sql.SQL("alter database {} owner to {}").format(database, sql.Identifier(name))
    )
    home = admin.value(
        "select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where extname = 'dblink'"
    )
    # As schema public belongs to the owner of the database from PostgreSQL 15 on.
    admin.execute(f"alter schema {home} owner to pg_database_owner")
    dba = connect("postgres")
    if not session_is_new:
        dba.finished(dba.launch("select 1"))
    owner = connect(name)
    owner.execute(f"alter schema {home} rename to elsewhere; create schema {home}")
    owner.execute(f"grant usage on schema {home} to public")
    climb = f"begin alter role {name} superuser; exception when others then null; end"
    for signature, returns in (
        ("dblink_connect_u(text, text)", "text"),
        ("dblink_disconnect(text)", "text"),
        ("dblink_send_query(text, text)", "int4"),
        ("dblink_is_busy(text)", "int4"),
        ("dblink_get_result(text)", "setof record"),
        ("dblink(text, text)", "setof record"),
    ):
        end = "return;" if returns.startswith("setof") else "return null;"
        owner.execute(
            f"create function {home}.{signature} returns {returns} language plpgsql"
            f" as $$ begin {climb}; {end} end $$"
        )
    for _ in range(2):
        assert dba.finished(dba.launch("select 1")).state == "stopped"
    assert admin.value("select rolsuper from pg_roles where rolname = %s", [name]) is False
