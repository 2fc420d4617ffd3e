"""A fake of the seam, for modules that import it: unit tests run without a server."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest


class FakeServerError(Exception):
    """What a server raises, with the fields that the seam reads."""

    def __init__(self, message: str, sqlstate: str = "", detail: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.detail = detail


class FakeDb(ModuleType):
    """The seam of a session that has no server: a memory, facts to be set, and links to nowhere."""

    ServerError = FakeServerError

    def __init__(self) -> None:
        super().__init__("pg_background.db")
        self.memory: dict[str, Any] = {}
        self.facts: dict[str, str | None] = {
            "database": "postgres",
            "port": "5432",
            "sockets": "/run/postgresql",
            "conninfo": None,
            "dblink": "public",
        }
        self.mapping: dict[str, str] = {}
        self.opened: dict[str, str] = {}
        self.left: dict[str, Any] = {"free": 90, "reserved": 3, "margin": None}
        self.refusal: FakeServerError | None = None

    def session_memory(self) -> dict[str, Any]:
        """Give the session's memory."""
        return self.memory

    def connection_facts(self) -> dict[str, str | None]:
        """Tell where the server listens."""
        return self.facts

    def connections_left(self) -> dict[str, Any]:
        """Tell how many connections are left."""
        return self.left

    def use_dblink(self, schema: str) -> None:
        """Remember where dblink is."""
        self.memory["dblink"] = schema

    def user_mapping(self, server: str, role: str) -> dict[str, str]:
        """Give what the DBA has set for this role."""
        assert (server, bool(role)) == ("pg_background_loopback", True)
        return self.mapping

    def connect(self, name: str, conninfo: str) -> None:
        """Open a link, or refuse it."""
        if self.refusal is not None:
            raise self.refusal
        self.opened[name] = conninfo

    def disconnect(self, name: str) -> None:
        """Close a link."""
        del self.opened[name]

    def ask(self, name: str, sql: str) -> list[str]:
        """Answer the question for the worker's pid."""
        assert name in self.opened
        assert "pg_backend_pid" in sql
        return ["4711"]

    def sqlstate_of(self, error: FakeServerError) -> str:
        """Read the SQLSTATE."""
        return error.sqlstate

    def server_message(self, error: FakeServerError) -> str:
        """Read the message."""
        return str(error)

    def server_fields(self, error: FakeServerError) -> dict[str, str | None]:
        """Read detail and hint."""
        return {"detail": error.detail, "hint": None}


@pytest.fixture
def fake_db() -> FakeDb:
    """Give a seam without a server."""
    return FakeDb()


@pytest.fixture
def load(fake_db: FakeDb, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Give a function that imports a module of the product over the fake; afterwards all is as before."""
    before = {name for name in sys.modules if name.startswith("pg_background")}
    package = importlib.import_module("pg_background")
    monkeypatch.setitem(sys.modules, "pg_background.db", fake_db)
    monkeypatch.setattr(package, "db", fake_db, raising=False)

    def loaded(name: str) -> ModuleType:
        return importlib.import_module(f"pg_background.{name}")

    yield loaded
    for name in list(sys.modules):
        if name.startswith("pg_background.") and name not in before:
            del sys.modules[name]
            child = name.partition(".")[2]
            if child != "db" and hasattr(package, child):
                delattr(package, child)
