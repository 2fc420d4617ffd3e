"""The server that tests use: this machine's own, a container's, or any other by its DSN.

PGBACKGROUND_TEST_DSN    a superuser's connection string: use that server, start none
PGBACKGROUND_TEST_IMAGE  a major version (15, 17, 18; 16 where somebody built its Dockerfile): a container
neither                  a throw-away server of the newest PostgreSQL installed here
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier

from tools.local_server import LocalServer

# How long sessions of a database that is to be dropped may take to end by themselves.
PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class Server:
    """A running server that this process may do with as it likes."""

    # a superuser's connection string
    admin_dsn: str
    # the server itself where it is one of this machine's binaries: crash(), restart(), data
    local: LocalServer | None = None

    def dsn(self, dbname: str, user: str | None = None, password: str | None = None) -> str:
        """Return the connection string of a database, for the superuser or another login."""
        login = {"user": user, "password": password} if user else {}
        return make_conninfo(self.admin_dsn, dbname=dbname, **login)

    def execute(self, statement: Composed) -> None:
        """Run one statement as the superuser, outside of any transaction.

        In a session of its own: one kept open would not live through a crash that a test makes.
        """
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def database(self, name: str, template: str = "template1") -> Iterator[str]:
        """Make a database, yield its name, and drop it with all its sessions."""
        identifier = Identifier(name)
        self.execute(SQL("create database {} template {}").format(identifier, Identifier(template)))
        try:
            yield name
        finally:
            self._end_sessions(name)
            self.execute(SQL("drop database {} with (force)").format(identifier))

    def _end_sessions(self, database: str) -> None:
        """End a database's sessions, and wait for it: DROP DATABASE looks ten times a second only."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline:
                ended = connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                    [database],
                )
                if not ended.rowcount:
                    return
                time.sleep(0.002)


def chosen() -> str:
    """Say in a few words which server any_server() would give."""
    if os.environ.get("PGBACKGROUND_TEST_DSN"):
        return "the server of PGBACKGROUND_TEST_DSN"
    image = os.environ.get("PGBACKGROUND_TEST_IMAGE")
    return f"a container of PostgreSQL {image}" if image else "a throw-away local server"


@contextmanager
def any_server(*, durable: bool = False) -> Iterator[Server]:
    """Yield the chosen server, and end it afterwards if it was started here."""
    dsn = os.environ.get("PGBACKGROUND_TEST_DSN")
    image = os.environ.get("PGBACKGROUND_TEST_IMAGE")
    if dsn:
        yield Server(dsn)
    elif image:
        # needs an engine and packages that the other two do without
        from tests.images.containers import running  # noqa: PLC0415

        with running(int(image), durable=durable) as container_dsn:
            yield Server(container_dsn)
    else:
        with LocalServer(durable=durable) as local:
            yield Server(local.dsn(), local)
