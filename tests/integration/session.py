"""The product's verbs as methods of a session, so that tests read as what a user does."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.fix_wait import eventually
from tools.product import SCHEMA

ENDED = ("stopped", "error", "canceled")


class Handle(NamedTuple):
    """What launch returns."""

    pid: int
    cookie: int


class Outcome(NamedTuple):
    """What outcome returns."""

    pid: int | None
    cookie: int | None
    state: str | None
    consumed: bool | None
    completed: bool | None
    has_error: bool | None
    row_count: int | None
    command_tag: str | None
    sqlstate: str | None
    error_message: str | None
    label: str | None
    launched_at: Any


def nothing_known(pid: int | None, cookie: int | None) -> Outcome:
    """Return the outcome of a handle that nothing is known of, or may be known."""
    return Outcome(pid, cookie, *(None,) * 10)


class Session:
    """A connection with the verbs of pg_background."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    @property
    def pid(self) -> int:
        """The server's process of this session."""
        return self.connection.info.backend_pid

    def execute(self, statement: str, arguments: Any = None) -> psycopg.Cursor[Any]:
        """Run SQL in this session."""
        return self.connection.execute(sql.SQL(statement), arguments)

    def rows(self, statement: str, arguments: Any = None) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        return self.execute(statement, arguments).fetchall()

    def value(self, statement: str, arguments: Any = None) -> Any:
        """Run a query and return the first column of its first row."""
        row = self.execute(statement, arguments).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Leave the server."""
        self.connection.close()

    def call(self, function: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Call one of the product's functions by its name without prefix."""
        places = ", ".join(["%s"] * len(arguments))
        return self.rows(f"select * from {SCHEMA}.pg_background_{function}({places})", arguments)

    def launch(self, text: str | None, queue_size: int = 0, label: str | None = None) -> Handle:
        """Start a job."""
        places = "%s::text, %s::int4, %s::text"
        found = self.rows(
            f"select pid, cookie from {SCHEMA}.pg_background_launch({places})",
            (text, queue_size, label),
        )
        return Handle(*found[0])

    def submit(self, text: str, queue_size: int = 0, label: str | None = None) -> Handle:
        """Start a job whose rows nobody wants."""
        places = "%s::text, %s::int4, %s::text"
        found = self.rows(
            f"select pid, cookie from {SCHEMA}.pg_background_submit({places})",
            (text, queue_size, label),
        )
        return Handle(*found[0])

    def wait(self, job: Handle, timeout_ms: int = 0) -> bool:
        """Wait for a job's end."""
        ended: bool = self.call("wait", *job, timeout_ms)[0][0]
        return ended

    def await_(self, job: Handle, timeout_ms: int = 0) -> None:
        """Wait for a job's end without a snapshot."""
        self.execute(f"call {SCHEMA}.pg_background_await(%s, %s, %s)", (*job, timeout_ms))

    def cancel(self, job: Handle, grace_ms: int = 0) -> None:
        """Ask a job to stop."""
        self.call("cancel", *job, grace_ms)

    def detach(self, job: Handle) -> None:
        """Let go of a job."""
        self.call("detach", *job)

    def result(self, job: Handle, columns: str = "answer text") -> list[tuple[Any, ...]]:
        """Wait for a job and read its rows."""
        return self.rows(
            f"select * from {SCHEMA}.pg_background_result(%s, %s) as t({columns})", tuple(job)
        )

    def outcome(self, job: Handle) -> Outcome:
        """Read a job's fate."""
        return Outcome(*self.call("outcome", *job)[0])

    def finished(self, job: Handle) -> Outcome:
        """Wait for a job's end and return its fate."""
        self.wait(job)
        return self.outcome(job)

    def error_info(self, job: Handle) -> dict[str, Any]:
        """Read the error that ended a job, by field."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            statement = f"select * from {SCHEMA}.pg_background_error_info(%s, %s)"
            cursor.execute(sql.SQL(statement), tuple(job))
            return cursor.fetchall()[0]

    def listed(self) -> list[tuple[Any, ...]]:
        """Read (pid, cookie, state, label) of this session's jobs."""
        return self.rows(f"select pid, cookie, state, label from {SCHEMA}.pg_background_list")

    def job(self, job: Handle) -> dict[str, Any]:
        """Read a job's row of the view of all jobs."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            statement = f"select * from {SCHEMA}.pg_background_jobs where cookie = %s"
            cursor.execute(sql.SQL(statement), [job.cookie])
            return cursor.fetchall()[0]

    def backend(self, pid: int) -> dict[str, Any] | None:
        """Read a backend's row of pg_stat_activity; None when it is gone."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute("select * from pg_stat_activity where pid = %s", [pid])
            return cursor.fetchone()

    def until_gone(self, pid: int) -> None:
        """Wait until a backend has left the server."""
        eventually(lambda: self.backend(pid) is None)

    def until_idle(self, pid: int) -> None:
        """Wait until a worker has nothing to do and has told its launcher so."""

        def idle() -> bool:
            backend = self.backend(pid)
            return (
                backend is not None
                and backend["state"] == "idle"
                and backend["wait_event"] == "ClientRead"
            )

        eventually(idle)

    def until_ended(self, job: Handle) -> Outcome:
        """Wait for a job's end by looking, where the product's own wait is not to be used."""
        eventually(lambda: self.outcome(job).state in ENDED)
        return self.outcome(job)


def elapsed_ms(since: float) -> float:
    """Milliseconds since a reading of time.monotonic()."""
    return (time.monotonic() - since) * 1000
