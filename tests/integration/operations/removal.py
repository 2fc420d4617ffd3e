"""Installing and removing the product in a database that lives on, with the server's own words where it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from tools.product import SCHEMA, build
from tools.servers import Server


class Files(NamedTuple):
    """What `make dist` writes for psql."""

    install: str
    uninstall: str


def files(folder: Path, schema: str = SCHEMA) -> Files:
    """Build the product for a schema."""
    install = build(folder / f"dist {schema}", schema)
    return Files(install.read_text(), install.with_name("uninstall.sql").read_text())


def run(server: Server, database: str, text: str, options: str = "") -> list[str]:
    """Run a file's text as the superuser, in a session of its own, and return what notices it gives."""
    notices: list[str] = []
    with psycopg.connect(server.dsn(database), autocommit=True, options=options) as connection:
        connection.add_notice_handler(lambda said: notices.append(said.message_primary or ""))
        connection.execute(sql.SQL(text))
    return notices


def schemas(server: Server, database: str) -> set[str]:
    """Return the names of a database's schemas, without the server's own."""
    with psycopg.connect(server.dsn(database)) as connection:
        found = connection.execute(
            "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)'"
        )
        return {name for (name,) in found}
