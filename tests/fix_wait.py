"""Waiting in tests: a gate that holds jobs back, and polling where no lock can be waited for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import sql

from tests.fix_db import Database

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """Ask again and again until the answer is true, and return it.

    The only place in the tests that polls. For what happens in another process and leaves nothing
    to wait for: a backend that is gone, a row of pg_stat_activity or pg_locks that appears.
    Everything else waits for a lock, a Gate or the product's own wait.

    timeout: seconds, after which the test fails with the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout:g} s; the last answer was {answer!r}")
        time.sleep(0.005)


class Gate:
    """Holds jobs back at a place of their SQL until the test lets them go on.

    A job that runs `gate.sql` stops there while the gate is closed, which it is from the start:

        job = launch(f"insert into t values (1); {gate.sql}; insert into t values (2)")
        gate.arrived()
        ...
        gate.open()

    What takes no such statement (VACUUM, CREATE INDEX CONCURRENTLY) is held by the lock of a table:
    close it with `gate.lock_table("t")`.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._number = random.getrandbits(62)
        self.close()

    @property
    def sql(self) -> str:
        """The statement that waits for the gate to be open; it ends with its transaction."""
        return f"select pg_advisory_xact_lock_shared({self._number})"

    def close(self) -> None:
        """Hold back whoever comes from now on."""
        self._connection.execute("select pg_advisory_lock(%s)", [self._number])

    def lock_table(self, table: str, mode: str = "access exclusive") -> None:
        """Hold a table's lock in a transaction of the gate's own session until open()."""
        self._connection.execute("begin")
        statement = f"lock table {table} in {mode} mode"
        self._connection.execute(sql.SQL(statement))

    def arrived(self, count: int = 1, timeout: float = 10.0) -> list[int]:
        """Wait until that many backends stand before the gate, and return their pids."""

        def waiting() -> list[int] | None:
            # Inside a transaction (lock_table) the view would stay as it was at the first look.
            self._connection.execute("select pg_stat_clear_snapshot()")
            rows = self._connection.execute(
                "select pid from pg_stat_activity"
                " where pg_backend_pid() = any (pg_blocking_pids(pid)) order by pid"
            ).fetchall()
            return [row[0] for row in rows] if len(rows) >= count else None

        return eventually(waiting, timeout) or []

    def open(self) -> None:
        """Let everybody go on, now and later."""
        if self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self._connection.execute("commit")
        self._connection.execute("select pg_advisory_unlock_all()")


@pytest.fixture
def gate(db: Database) -> Iterator[Gate]:
    """Give a closed gate in the test's database; the end of the test opens it."""
    made = Gate(db.connect(application_name="gate"))
    yield made
    made.open()
