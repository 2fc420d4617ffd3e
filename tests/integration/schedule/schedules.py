"""What tests of schedules have in common."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.integration.session import Handle, Session


def schedule(session: Session, name: str, text: str, sql: str, **arguments: Any) -> int:
    """Make a schedule, with arguments by name."""
    given = {"name": name, "schedule": text, "sql": sql, **arguments}
    places = ", ".join(f"{key} => %({key})s" for key in given)
    found: int = session.value(f"select background.pg_background_schedule({places})", given)
    return found


def seen(session: Session, name: str) -> dict[str, Any]:
    """Read a schedule's row of the view; {} where it has none."""
    with session.connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("select * from background.pg_background_schedules where name = %s", [name])
        return cursor.fetchone() or {}


def jobs(session: Session, name: str) -> list[dict[str, Any]]:
    """Read the jobs of a schedule, by the time that they were due."""
    with session.connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "select * from background.pg_background_jobs where schedule = %s order by due_at",
            [name],
        )
        return cursor.fetchall()


def move_back(admin: Session, name: str, by: str) -> None:
    """Let a schedule have been due for some time."""
    admin.execute(
        "update pgbackground.schedule set next_run = next_run - %s::interval where name = %s",
        [by, name],
    )


def tick(session: Session) -> int:
    """Tick, and return how many jobs that has queued."""
    found: int = session.value("select background.pg_background_tick()")
    return found


def run_now(session: Session, name: str) -> Handle:
    """Run a schedule's job now."""
    return Handle(*session.call("run_now", name)[0])


def clock_pid(admin: Session) -> int | None:
    """Give the process that keeps the clock; None while nobody does."""
    found: int | None = admin.value(
        "select pid from pg_stat_activity where query = 'call pgbackground.keep_clock()'"
        " and state = 'active' and datname = current_database()"
    )
    return found


def refused(session: Session, name: str, text: str, **arguments: Any) -> str:
    """Try to make a schedule, and return what is said against it."""
    with pytest.raises(psycopg.DatabaseError) as caught:
        schedule(session, name, text, arguments.pop("sql", "select 1"), **arguments)
    return f"{caught.value.sqlstate} {caught.value.diag.message_primary}"
