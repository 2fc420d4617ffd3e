"""The two products side by side in one database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_db import Roles
from tests.parity.player import Side
from tools.product import SCHEMA
from tools.servers import Server

C_SCHEMA = "public"
WORDS = ("app", "other", "plain")


@pytest.fixture(scope="session")
def role_names(server: Server, template: str) -> Iterator[dict[str, str]]:  # noqa: ARG001
    """Give the login roles of the scenarios: two users of the products, and a stranger."""
    roles = Roles(server)
    yield {word: roles.create(word, member=word != "plain") for word in WORDS}
    roles.drop_all()


@pytest.fixture(scope="session")
def database(server: Server, template: str, role_names: dict[str, str]) -> Iterator[str]:  # noqa: ARG001
    """Give a database with the product, and with the C extension where the server offers it."""
    with server.database(f"bg_parity_{os.getpid()}", template) as name:
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            offered = connection.execute(
                "select from pg_available_extensions"
                " where name = 'pg_background' and default_version like '2.0%'"
            ).fetchone()
            if offered is not None:
                connection.execute(f"create extension pg_background schema {C_SCHEMA}")
        yield name


def side(name: str, schema: str, server: Server, database: str, roles: dict[str, str]) -> Side:
    """Describe one of the two products."""

    def connect(user: str | None) -> psycopg.Connection[Any]:
        dsn = server.dsn(database, user, password=user)
        return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)

    return Side(name, schema, connect, roles)


@pytest.fixture(scope="session")
def here(server: Server, database: str, role_names: dict[str, str]) -> Side:
    """Give the product."""
    return side("here", SCHEMA, server, database, role_names)


@pytest.fixture(scope="session")
def there(server: Server, database: str, role_names: dict[str, str]) -> Side:
    """Give the C extension; skip where the server has none."""
    with psycopg.connect(server.dsn(database)) as connection:
        found = connection.execute("select from pg_extension where extname = 'pg_background'")
        if found.fetchone() is None:
            pytest.skip("this server does not offer the C extension pg_background 2.0")
    return side("there", C_SCHEMA, server, database, role_names)
