"""A role with pg_monitor and nothing else runs the documented metrics and alerts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.fix_db import Roles
from tests.integration.session import Session

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


@pytest.fixture
def monitor(roles: Roles, connect: Callable[..., Session]) -> Session:
    """Give a session that has nothing but pg_monitor."""
    name = roles.create("monitor", member=False)
    roles.grant("pg_monitor", name)
    return connect(name)


def alerts() -> list[str]:
    """Take the section's first example apart: a statement ends at the end of a line."""
    section = PAGE.read_text().split("### Alerts", 1)[1]
    text = section.split("```sql\n", 1)[1].split("```", 1)[0]
    return [each for each in re.split(r";$", text, flags=re.MULTILINE) if each.strip()]


def test_every_alert_runs_and_says_what_is_so(monitor: Session, launcher: Session) -> None:
    launcher.wait(launcher.launch("select 1"))
    stuck, failed, late, doctor = alerts()
    assert monitor.rows(stuck) == []
    assert monitor.rows(failed) == []
    assert monitor.rows(late) == []
    assert monitor.rows(doctor) == []
    launcher.wait(launcher.launch("select 1/0"))
    assert monitor.rows(failed) == [(1, 2)]


def test_the_doctor_tells_a_monitor_what_is_wrong(monitor: Session, admin: Session) -> None:
    admin.execute("insert into background.pg_background_config values ('retention', 'soon')")
    assert [row[0] for row in monitor.rows(alerts()[-1])] != []


def test_a_monitor_sees_no_jobs_and_starts_none(monitor: Session, launcher: Session) -> None:
    job = launcher.launch("select 1")
    for statement in (
        "select * from background.pg_background_jobs",
        "select background.pg_background_launch('select 1')",
        f"select background.pg_background_outcome({job.pid}, {job.cookie})",
        "select pgbackground.door()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            monitor.execute(statement)
