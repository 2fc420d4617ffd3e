"""tools/top: what a person sees of the jobs on a terminal of 80 columns."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import enqueue, limit
from tests.integration.schedule.schedules import run_now, schedule
from tests.integration.session import Session

TOP = Path(__file__).resolve().parents[3] / "tools" / "top"


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


def test_waiting_work_says_what_it_waits_for(
    db: Database, launcher: Session, admin: Session, observer: Session, gate: Gate, app: str
) -> None:
    limit(admin, "role", 1, app)
    launcher.launch(gate.sql)
    gate.arrived()
    later = launcher.value("select clock_timestamp() + interval '2 hours 30 s'")
    enqueue(launcher, "select 'later'", label="later", run_at=later)
    first = enqueue(launcher, "select 'first'", label="first")
    enqueue(launcher, "select 'then'", label="then", after=[first.cookie])
    lines = top(db, app, "--once")
    assert "1 running, 3 queued" in lines[0]
    assert "number 1 in the queue" in line_of(lines, "first")[1]
    assert "waits for 2" in line_of(lines, "later")[1]
    assert ", in 02:00:" in line_of(lines, "later")[1]
    assert f"waits for job {first.cookie}" in line_of(lines, "then")[1]
    order = [line for line in lines if line.strip().startswith("queued")]
    assert [line.split()[2] for line in order] == ["first", "later", "then"]
    launcher.cancel(first)
    gate.open()
    again = enqueue(
        launcher, "select 1 / 0", label="again", attempts=4, retry_on="any", backoff="1 hour"
    )
    eventually(lambda: observer.job(again)["attempt"] == 2)
    below = line_of(top(db, app, "--once"), "again")[1]
    assert "is tried again at 2" in below
    assert below.endswith("; attempt 2 of 4")
    assert ", in 0" in below


def test_the_schedules_that_are_due_next_stand_above_the_jobs(
    db: Database, launcher: Session, app: str
) -> None:
    soon = launcher.value("select clock_timestamp() + interval '40 min 30 s'")
    for number in range(4):
        schedule(launcher, f"rare {number}", "0 0 29 2 *", f"select {number}")
    schedule(launcher, "soon", f"{soon:%Y-%m-%d %H:%M:%S}", "select 1", timezone="UTC")
    schedule(launcher, "asleep", "1 second", "select 1", active=False)
    schedule(launcher, "a bad one", "0 0 1 1 *", "select 1 / 0")
    launcher.finished(run_now(launcher, "a bad one"))
    lines = top(db, app, "--once")
    assert [line.split()[0] for line in lines[1:4]] == ["due"] * 3
    assert lines[1].split()[:2] == ["due", "in"]
    assert "00:40:" in lines[1]
    assert " soon " in lines[1]
    assert "failed 1 in a row" in line_of(lines, "a bad one")[0]
    assert not [line for line in lines if "asleep" in line]
    assert lines[4] == ""
    assert lines[5].split()[0] == "PID"
    assert len([line for line in top(db, app, "--once", lines=12) if "due in" in line]) == 1


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
