"""What tests of the queue and of the limits have in common."""

from __future__ import annotations

import random
from typing import Any

import psycopg

from tests.fix_wait import eventually
from tests.integration.session import Handle, Session

# The verbs that wait for a job; {0}: its pid, {1}: its cookie.
WAITS = {
    "wait": "select background.pg_background_wait({0}, {1})",
    "await": "call background.pg_background_await({0}, {1})",
    "drain": "select state from background.pg_background_drain("
    "array[({0}, {1})::background.pg_background_handle])",
    "wait_any": "select cookie from background.pg_background_wait_any("
    "array[({0}, {1})::background.pg_background_handle])",
}


class Stops:
    """Holds each job back at a stop of its own, until it is let go."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._first = random.getrandbits(48)
        self._held: set[int] = set()

    def at(self, number: int) -> str:
        """Give the statement that stops a job until release(number)."""
        key = self._first + number
        if number not in self._held:
            self._held.add(number)
            self._connection.execute("select pg_advisory_lock(%s)", [key])
        return f"select pg_advisory_xact_lock_shared({key})"

    def release(self, *numbers: int) -> None:
        """Let these jobs go on."""
        for number in numbers:
            self._held.discard(number)
            self._connection.execute("select pg_advisory_unlock(%s)", [self._first + number])


def use_queue(session: Session, max_workers: int | None = None) -> None:
    """Have a session's launches queue at the limit, and set its own one."""
    session.execute("set pg_background.when_full = 'queue'")
    if max_workers is not None:
        session.execute(f"set pg_background.max_workers = {max_workers}")


def limit(admin: Session, scope: str, max_workers: int, name: str | None = None) -> None:
    """Set a limit as the DBA does, in place of the one that was there."""
    admin.execute(
        "insert into background.pg_background_limits (scope, name, max_workers) values (%s, %s, %s)"
        " on conflict (scope, (coalesce(name, ''))) do update set max_workers = excluded.max_workers",
        [scope, name, max_workers],
    )


def states(admin: Session, *jobs: Handle) -> list[str]:
    """Read the jobs' states as the registry has them now."""
    return [admin.job(job)["state"] for job in jobs]


def until_running(admin: Session, *jobs: Handle) -> None:
    """Wait until all of these jobs have left the queue and run."""
    eventually(lambda: states(admin, *jobs) == ["running"] * len(jobs))


def most_at_once(session: Session, chosen: str = "true") -> int:
    """Give the largest number of rows of table span(began, ended) that overlap at one moment.

    Both times are taken inside of the jobs, so two jobs that overlap here did run at once.
    """
    found: int = session.value(
        "select max(n) from (select sum(change) over (order by at, change) as n from"
        " (select began as at, 1 as change, n from span union all select ended, -1, n from span) c"
        f" where {chosen}) r"
    )
    return found


def enqueue(session: Session, text: str | None, **options: Any) -> Handle:
    """Queue a job in the session's own transaction."""
    named = "".join(f", {name} => %s" for name in options)
    found = session.rows(
        f"select pid, cookie from background.pg_background_enqueue(%s::text{named})",
        [text, *options.values()],
    )
    return Handle(*found[0])


def ended(session: Session, job: Handle) -> tuple[str | None, str | None]:
    """Wait for a job's end by looking, and give its state and SQLSTATE."""
    outcome = session.until_ended(job)
    return outcome.state, outcome.sqlstate
