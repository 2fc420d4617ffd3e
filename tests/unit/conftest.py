"""A fake of the ports, for modules that import them: unit tests run without a server."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import pytest

Answer = Callable[..., list[dict[str, Any]]]


class FakeServerError(Exception):
    """What a server raises, with the fields that the seam reads."""

    def __init__(self, message: str, sqlstate: str = "", detail: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.detail = detail


class FakeDb(ModuleType):
    """The seam of a session without a server: it knows what is asked by words of the question, never by its turn."""

    ServerError = FakeServerError
    CANCELED = "57014"
    SCHEMA = "background"

    def __init__(self) -> None:
        super().__init__("pg_background.db")
        self.memory: dict[str, Any] = {}
        self.place: dict[str, str | None] = {
            "database": "postgres",
            "encoding": "UTF8",
            "port": "5432",
            "sockets": "/run/postgresql",
            "conninfo": None,
        }
        self.mapping: dict[str, str] = {}
        self.left: dict[str, Any] = {"free": 90, "reserved": 3, "margin": None}
        self.held_locks: set[int] = set()
        self.slept_ms = 0.0
        # The first words that stand in a question decide.
        self.questions: dict[str, Answer] = {
            "as sockets": lambda: [self.place],
            "pg_options_to_table": self._mapping,
            "from pg_catalog.pg_foreign_server": lambda server: [
                {"exists": server == "pg_background_loopback" and bool(self.mapping)}
            ],
            "as margin": lambda: [self.left],
            "pg_stat_clear_snapshot": lambda: [{"pg_stat_clear_snapshot": ""}],
            "pgbackground.await_lock": lambda key, _: [{"await_lock": key not in self.held_locks}],
        }

    def _mapping(self, server: str, role: str) -> list[dict[str, Any]]:
        assert (server, bool(role)) == ("pg_background_loopback", True)
        return [{"name": name, "value": value} for name, value in self.mapping.items()]

    def rows(self, sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
        """Answer a question."""
        assert len(types) == len(args)
        for words, answer in self.questions.items():
            if words in sql:
                return answer(*args)
        return pytest.fail(f"the fake knows no answer to: {sql}")

    def row(self, sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
        """Give the first row."""
        return next(iter(self.rows(sql, types, args)), None)

    def value(self, sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
        """Give the first column of the first row."""
        found = self.row(sql, types, args)
        return next(iter(found.values())) if found else None

    def session_memory(self) -> dict[str, Any]:
        """Give the session's memory."""
        return self.memory

    def privileged(self, action: Callable[[], Any]) -> Any:
        """Run it: there are no rights here."""
        return action()

    def subtransaction(self) -> nullcontext[None]:
        """Have nothing to undo."""
        return nullcontext()

    def sleep(self, milliseconds: float) -> None:
        """Take no time."""
        self.slept_ms += milliseconds

    def literal(self, content: Any) -> str:
        """Write a value as SQL, for tests that look for it."""
        if content is None or isinstance(content, (bool, int)):
            return str(content).lower().replace("none", "null")
        if isinstance(content, list):
            return f"array[{', '.join(map(self.literal, content))}]"
        doubled: str = content.replace("'", "''")
        return f"'{doubled}'"

    def sqlstate_of(self, error: FakeServerError) -> str:
        """Read the SQLSTATE."""
        return error.sqlstate

    def server_message(self, error: FakeServerError) -> str:
        """Read the message."""
        return str(error)

    def server_fields(self, error: FakeServerError) -> dict[str, str | None]:
        """Read detail and hint."""
        return {"detail": error.detail, "hint": None}


class FakeDblink(ModuleType):
    """The calls of dblink, to workers that are not there: what is open, busy or lost is set by the test."""

    def __init__(self) -> None:
        super().__init__("pg_background.dblink")
        self.opened: dict[str, str] = {}
        self.busy: set[str] = set()
        self.lost: set[str] = set()
        self.heard: list[tuple[str, str]] = []
        self.refusal: FakeServerError | None = None

    def connect(self, name: str, conninfo: str) -> None:
        """Open a link, or refuse it."""
        if self.refusal is not None:
            raise self.refusal
        assert name not in self.opened
        self.opened[name] = conninfo

    def disconnect(self, name: str) -> None:
        """Close a link."""
        self._there(name)
        del self.opened[name]

    def ask(self, name: str, sql: str, pid: int = 0) -> list[str | None]:
        """Tell the worker's pid, and nothing of anything else."""
        self._there(name)
        assert pid in (0, 4711)
        self.heard.append((name, sql))
        return ["4711" if "pg_backend_pid" in sql else ""]

    def send(self, name: str, sql: str) -> bool:
        """Hear a command."""
        if name in self.lost:
            return False
        self._there(name)
        self.heard.append((name, sql))
        return True

    def is_busy(self, name: str) -> bool:
        """Tell what the test has set."""
        self._there(name)
        return name in self.busy

    def collect(self, name: str) -> None:
        """Have nothing to collect."""
        self._there(name)
        assert name not in self.busy, "this would wait for a job"

    def told(self, name: str) -> list[str]:
        """What a link was told after it was opened."""
        return [sql for link, sql in self.heard if link == name and "pg_backend_pid" not in sql]

    def _there(self, name: str) -> None:
        if name in self.lost or name not in self.opened:
            raise FakeServerError("no connection", "08003")


@pytest.fixture
def fake_db() -> FakeDb:
    """Give a seam without a server."""
    return FakeDb()


@pytest.fixture
def fake_dblink() -> FakeDblink:
    """Give links to nowhere."""
    return FakeDblink()


@pytest.fixture
def load(
    fake_db: FakeDb, fake_dblink: FakeDblink, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], ModuleType]]:
    """Give a function that imports a module of the product over the fakes; afterwards all is as before."""
    before = {name for name in sys.modules if name.startswith("pg_background")}
    package = importlib.import_module("pg_background")
    for name, fake in (("db", fake_db), ("dblink", fake_dblink)):
        monkeypatch.setitem(sys.modules, f"pg_background.{name}", fake)
        monkeypatch.setattr(package, name, fake, raising=False)

    def loaded(name: str) -> ModuleType:
        return importlib.import_module(f"pg_background.{name}")

    yield loaded
    for name in list(sys.modules):
        if name.startswith("pg_background.") and name not in before:
            child = name.partition(".")[2]
            if child not in ("db", "dblink"):
                del sys.modules[name]
                if hasattr(package, child):
                    delattr(package, child)
