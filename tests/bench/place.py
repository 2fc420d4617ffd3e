"""Where it is measured: a durable server, a database with the product, sessions in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.bench import peers
from tests.bench.measure import Effort
from tools.local_server import LocalServer
from tools.product import install
from tools.servers import Server, any_server, chosen

# 50 sessions with a worker each, and what else is measured
CONNECTIONS = 300


@dataclass(frozen=True)
class Place:
    """A database with the product, and with the peers that the server offers."""

    server: Server
    dbname: str
    effort: Effort
    peers: peers.Peers
    words: str

    def connect(self, dbname: str | None = None) -> psycopg.Connection[Any]:
        """Open a session as the superuser. Nothing is prepared by the client on its own account."""
        connection: psycopg.Connection[Any] = psycopg.connect(
            self.server.dsn(dbname or self.dbname), autocommit=True, prepare_threshold=None
        )
        connection.execute(
            "select set_config('bench.conninfo', %s, false)", [peers.conninfo(connection)]
        )
        return connection

    def number(self, connection: psycopg.Connection[Any], query: str) -> float:
        """Return the only value of a query."""
        row = connection.execute(query).fetchone()
        return float(row[0]) if row and row[0] is not None else 0.0

    @contextmanager
    def another_database(self) -> Iterator[str]:
        """Make one more database with the product."""
        with self.server.database(f"{self.dbname}_other") as name:
            install(self.server.dsn(name))
            yield name


@contextmanager
def place(effort: Effort) -> Iterator[Place]:
    """Choose the server as the tests do, but a durable one with room for 50 launchers."""
    with _server() as server, server.database(f"bg_bench_{os.getpid()}") as name:
        install(server.dsn(name))
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            present = peers.prepare(connection)
            version = connection.info.parameter_status("server_version")
        yield Place(server, name, effort, present, f"PostgreSQL {version}, {chosen()}")


@contextmanager
def _server() -> Iterator[Server]:
    if os.environ.get("PGBACKGROUND_TEST_DSN") or os.environ.get("PGBACKGROUND_TEST_IMAGE"):
        with any_server(durable=True) as server:
            yield server
    else:
        with LocalServer(durable=True, settings={"max_connections": CONNECTIONS}) as local:
            yield Server(local.dsn(), local)
