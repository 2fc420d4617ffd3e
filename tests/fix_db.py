"""One database and as many login roles per test as it wants, gone when the test ends."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tools.product import SCHEMA
from tools.servers import Server

USER_ROLE = "pgbackground_role"

_serial = itertools.count(1)


def unique_name(word: str) -> str:
    """Return a name that no other test of any session running on the same server uses."""
    return f"bg_{word}_{os.getpid()}_{next(_serial)}"


@dataclass
class Roles:
    """Login roles of one test."""

    server: Server
    created: list[str] = field(default_factory=list)

    def create(self, word: str = "app", *, member: bool = True, options: str = "") -> str:
        """Make a login role, with the rights of a user of the product unless told otherwise.

        word:    part of its name, for people who read a failure.
        member:  grant it pgbackground_role, which the product's installation creates.
        options: words of CREATE ROLE, such as "superuser" or "connection limit 1".
        """
        name = unique_name(word)
        # The password, its own name, is of use on servers that ask for one.
        self.server.execute(
            sql.SQL("create role {} login password {} {}").format(
                sql.Identifier(name),
                sql.Literal(name),
                sql.SQL(options),
            )
        )
        self.created.append(name)
        if member:
            self.grant(USER_ROLE, name)
        return name

    def grant(self, role: str, to: str) -> None:
        """Grant a role to another."""
        self.server.execute(
            sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(to))
        )

    def drop_all(self) -> None:
        """Drop them with what they own outside of databases, the latest first."""
        for name in reversed(self.created):
            role = sql.Identifier(name)
            self.server.execute(sql.SQL("drop owned by {} cascade").format(role))
            self.server.execute(sql.SQL("drop role {}").format(role))
        self.created.clear()


@dataclass
class Database:
    """A test's own database, with the product in its schema."""

    server: Server
    name: str
    schema: str = SCHEMA
    _connections: ExitStack = field(default_factory=ExitStack)

    @property
    def dsn(self) -> str:
        """The superuser's connection string."""
        return self.server.dsn(self.name)

    def connect(
        self, user: str | None = None, *, autocommit: bool = True, **parameters: Any
    ) -> psycopg.Connection[Any]:
        """Open a session, as the superuser or as a role of this test; it ends with the test.

        parameters: what psycopg.connect takes, such as options="-c role=x" or row_factory.
        """
        dsn = self.server.dsn(self.name, user, password=user)
        connection: psycopg.Connection[Any] = psycopg.connect(
            dsn, autocommit=autocommit, **parameters
        )
        self._connections.callback(connection.close)
        return connection

    def close(self) -> None:
        """End the sessions that connect() opened."""
        self._connections.close()


# `db` asks for the roles of its test, so that they are dropped after the database that may hold
# objects of theirs, whichever of the two the test names first.
@pytest.fixture
def roles(server: Server, template: str) -> Iterator[Roles]:  # noqa: ARG001
    """Give the maker of login roles; needs the template because installing makes USER_ROLE."""
    made = Roles(server)
    yield made
    made.drop_all()


@pytest.fixture
def db(
    server: Server,
    template: str,
    roles: Roles,  # noqa: ARG001
) -> Iterator[Database]:
    """Give a new database, a copy of the template."""
    with server.database(unique_name("db"), template) as name:
        database = Database(server, name)
        yield database
        database.close()
