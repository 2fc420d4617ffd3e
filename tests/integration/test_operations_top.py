"""tools/top: what a person sees of the jobs on a terminal of 80 columns."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate
from tests.integration.verbs import Session

TOP = Path(__file__).resolve().parents[2] / "tools" / "top"


def top(db: Database, user: str, *arguments: str, lines: int | None = None) -> list[str]:
    """Run tools/top as a role and return the lines of its screen, which has so many."""
    parts = conninfo_to_dict(db.server.dsn(db.name, user, password=user))
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
    environment = {name: str(parts[key]) for key, name in names.items() if key in parts}
    environment["PGPASSWORD"] = str(parts.get("password", ""))
    if lines:
        environment["LINES"] = str(lines)
    run = subprocess.run(
        [str(TOP), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    screen = run.stdout.removesuffix("\n").split("\n")
    assert all(len(line) < 80 for line in screen)
    return screen


def line_of(lines: list[str], word: str) -> tuple[str, str]:
    """Return the line that holds a word, and the one below it."""
    place = next(number for number, line in enumerate(lines) if word in line)
    return lines[place], [*lines, ""][place + 1]


def test_a_running_job_shows_its_progress_as_a_bar(
    db: Database, launcher: Session, gate: Gate, app: str
) -> None:
    job = launcher.launch(
        f"select background.pg_background_report_progress(42, 'halfway there'); {gate.sql}",
        label="nightly",
    )
    gate.arrived()
    lines = top(db, app, "--once")
    assert "1 running, 0 queued" in lines[0]
    shown, below = line_of(lines, "nightly")
    assert shown.split()[:2] == [str(job.pid), "running"]
    assert "[####      ]  42%" in shown
    assert "halfway there" in below
    gate.open()


def test_a_job_that_waits_for_a_lock_names_the_lock_and_its_holder(
    db: Database, launcher: Session, observer: Session, gate: Gate, app: str
) -> None:
    launcher.execute("create table accounts (id int4)")
    observer.execute("begin")
    observer.execute("lock table accounts")
    inline = launcher.launch("delete from accounts", label="inline")
    top_level = launcher.launch("vacuum accounts", label="top level")
    for job in (inline, top_level):
        assert not launcher.wait(job, 200)
    lines = top(db, app, "--once")
    for label in ("inline", "top level"):
        below = line_of(lines, label)[1]
        assert f"waits for relation accounts of {observer.pid}" in below
    assert "observer (idle in transaction)" in line_of(lines, "inline")[1]
    observer.execute("commit")
    launcher.wait(inline)
    launcher.wait(top_level)
    gate.open()


def test_a_queued_job_shows_its_place_in_the_queue(
    db: Database, launcher: Session, gate: Gate, app: str
) -> None:
    launcher.execute("set pg_background.max_workers = 1")
    launcher.execute("set pg_background.when_full = 'queue'")
    launcher.launch(gate.sql)
    gate.arrived()
    second, third = launcher.launch("select 2", label="b"), launcher.launch("select 3", label="c")
    lines = top(db, app, "--once")
    assert "1 running, 2 queued" in lines[0]
    assert "number 1 in the queue" in line_of(lines, "select 2")[1]
    assert "number 2 in the queue" in line_of(lines, "select 3")[1]
    gate.open()
    for job in (second, third):
        launcher.wait(job)


def test_long_labels_and_texts_of_many_lines_do_not_break_the_screen(
    db: Database, launcher: Session, gate: Gate, app: str
) -> None:
    launcher.launch(f"select\n\n\t'{'x' * 200}';\n{gate.sql}", label="l" * 64)
    gate.arrived()
    assert len(top(db, app, "--once")) <= 5
    gate.open()


def test_other_peoples_jobs_are_not_shown(
    db: Database, launcher: Session, gate: Gate, roles: Roles
) -> None:
    launcher.launch(gate.sql)
    gate.arrived()
    other = roles.create("other")
    assert "0 running, 0 queued" in top(db, other, "--once")[0]
    gate.open()


def test_finished_jobs_are_reported_by_label(db: Database, launcher: Session, app: str) -> None:
    for label, statement in (
        ("nightly", "select 1"),
        ("nightly", "select 1/0"),
        ("hourly", "select 1"),
        (None, "select 1"),
    ):
        launcher.wait(launcher.launch(statement, label=label))
    lines = top(db, app, "--finished")
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if "|" in line]
    assert cells[0] == ["label", "jobs", "failed", "p50_s", "p95_s", "last"]
    assert {row[0]: row[1:3] for row in cells[1:]} == {
        "nightly": ["2", "1"],
        "hourly": ["1", "0"],
        "(none)": ["1", "0"],
    }
    assert all(float(row[3]) <= float(row[4]) for row in cells[1:])


def test_a_word_it_does_not_know_is_answered_with_its_usage(db: Database, app: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failure:
        top(db, app, "--help")
    assert "tools/top --finished" in failure.value.stderr
