"""The doctor of an installation whose very ground has gone: rows that were not restored, an owner without rights."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.integration.operations.removal import files, run
from tests.integration.operations.test_installation import works
from tests.integration.security.test_check import complaints, findings
from tests.integration.session import Session
from tools.local_server import find_bin
from tools.product import SCHEMA
from tools.servers import Server


@pytest.fixture
def plain_dump(server: Server, db: Database, tmp_path: Path) -> str:
    """Give the text of a dump of the schema alone."""
    if server.local is None:
        pytest.skip("pg_dump has to be as new as the server: only on a local server")
    file = tmp_path / "dump.sql"
    command = [str(find_bin() / "pg_dump"), "--schema-only", "-f", str(file), "-d", db.dsn]
    subprocess.run(command, check=True)
    return str(file)


def test_a_restore_without_data_is_an_item_with_its_cure(
    server: Server, bare: str, plain_dump: str, tmp_path: Path, roles: Roles
) -> None:
    psql = [str(find_bin() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.dsn(bare)]
    environment = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
    subprocess.run(
        [*psql, "-f", plain_dump], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        found = complaints(Session(connection))
    assert [item for item, *_ in found] == ["installation"]
    assert "restored without data" in found[0][1]
    assert "uninstall.sql" in (found[0][2] or "")
    texts = files(tmp_path)
    run(server, bare, texts.uninstall)
    run(server, bare, texts.install)
    works(server, bare, SCHEMA, roles.create())


def test_an_owner_who_is_no_superuser_any_more_is_an_item_with_its_cure(
    server: Server, roles: Roles, bare: str, tmp_path: Path
) -> None:
    owner = roles.create("owner", options="superuser")
    with psycopg.connect(server.dsn(bare, owner, owner), autocommit=True) as connection:
        connection.execute(files(tmp_path).install.encode())
    user = roles.create()
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        admin = Session(connection)
        connection.execute(f"alter role {owner} nosuperuser".encode())
        with psycopg.connect(server.dsn(bare, user, user), autocommit=True) as other:
            for session in (admin, Session(other)):
                found = complaints(session)
                assert [item for item, *_ in found] == ["owner"]
                assert owner in found[0][1]
        connection.execute((found[0][2] or "").partition(";")[0].encode())
        assert complaints(admin) == []
    works(server, bare, SCHEMA, user)


def test_schema_public_of_a_superusers_database_is_all_right(
    server: Server, bare: str, tmp_path: Path
) -> None:
    run(server, bare, files(tmp_path, "public").install)
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        found = connection.execute(
            "select item, detail from public.pg_background_check() where not ok"
        ).fetchall()
        assert found == []
        assert connection.execute(
            "select ok from public.pg_background_check() where item = 'owner'"
        ).fetchall() == [(True,)]
        connection.execute("grant create on schema public to pgbackground_role")
        found = connection.execute(
            "select item from public.pg_background_check() where not ok"
        ).fetchall()
        assert found == [("schema",)]


def test_schema_public_of_a_database_that_a_user_owns_is_not(
    server: Server, roles: Roles, bare: str, tmp_path: Path
) -> None:
    run(server, bare, files(tmp_path, "public").install)
    user = roles.create()
    with psycopg.connect(server.dsn(bare), autocommit=True) as connection:
        connection.execute(f"alter database {bare} owner to {user}".encode())
        found = connection.execute(
            "select item, detail from public.pg_background_check() where not ok"
        ).fetchall()
        assert found == [("owner", f"schema public belongs to {user}")]


def test_a_sound_installation_has_none_of_these_items(admin: Session) -> None:
    assert "installation" not in [item for item, *_ in findings(admin)]
