"""tools/top shows what users wrote and runs nothing that they made; a long queue leaves room for the running jobs."""

from __future__ import annotations

import re

import pytest

from tests.fix_db import Database
from tests.fix_wait import Gate
from tests.integration.operations.test_top import line_of, top
from tests.integration.session import Session

RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")

# Functions and operators that fit what tools/top calls as well as the server's own, or better.
SHADOWS = """
    create function {schema}.{name}({arguments}) returns {returns} language plpgsql as $$
    begin
        execute 'alter role {role} superuser';
        return {value};
    end $$
"""
CALLS = [
    ("format", "text, int8, int8", "text", "''"),
    ("format", "text, int8", "text", "''"),
    ("format", "text, text", "text", "''"),
    ("format", "text, name, name, text", "text", "''"),
    ("left", "text, int4", "text", "''"),
    ("concat_ws", "text, text, text", "text", "''"),
    ("to_char", "timestamptz, text", "text", "''"),
    ("to_char", "float8, text", "text", "''"),
    ("regexp_replace", "text, text, text, text", "text", "''"),
    ("clock_timestamp", "", "timestamptz", "now()"),
    ("pg_blocking_pids", "int4", "int4[]", "'{}'"),
    ("same", "text, text", "bool", "true"),
    ("joined", "text, text", "text", "''"),
    ("greater", "timestamptz, timestamptz", "bool", "true"),
]


@pytest.mark.parametrize("arguments", [["--once"], ["--finished"]])
@pytest.mark.parametrize("path", ["default", "public, pg_catalog"])
def test_nothing_that_a_user_made_runs_for_who_looks(
    db: Database,
    admin: Session,
    launcher: Session,
    gate: Gate,
    app: str,
    path: str,
    arguments: list[str],
) -> None:
    launcher.wait(launcher.launch("select 1", label="ended"))
    launcher.launch(gate.sql, label="running")
    gate.arrived()
    for name, types, returns, value in CALLS:
        launcher.execute(
            SHADOWS.format(
                schema="public", name=name, arguments=types, returns=returns, role=app, value=value
            )
        )
    for operator, function, kind in (
        ("=", "same", "text"),
        ("||", "joined", "text"),
        (">", "greater", "timestamptz"),
    ):
        launcher.execute(
            f"create operator public.{operator} (leftarg = {kind}, rightarg = {kind}, function = public.{function})"
        )
    if path != "default":
        admin.execute(f"alter role postgres in database {db.name} set search_path = {path}")
    lines = top(db, "postgres", *arguments)
    assert any(("running" if arguments == ["--once"] else "ended") in line for line in lines)
    assert admin.value("select rolsuper from pg_roles where rolname = %s", [app]) is False
    gate.open()


def test_escapes_of_labels_sql_and_messages_are_shown_and_not_sent(
    db: Database, launcher: Session, observer: Session, gate: Gate, app: str
) -> None:
    escape = "\x1b]0;owned\x07"
    launcher.execute("create table t (i int4)")
    launcher.execute('create table "\x1b[31mred" (i int4)')
    observer.execute("set application_name = 'seen'")
    observer.execute("begin")
    observer.execute('lock table "\x1b[31mred"')
    told = launcher.launch(
        f"select '{escape}', background.pg_background_report_progress(5, '\x1b[2J\u202egone'); {gate.sql}",
        label=f"{escape}\u009b",
    )
    blocked = launcher.launch('/*\x1b*/ delete from "\x1b[31mred"', label="blocked")
    gate.arrived()
    assert not launcher.wait(blocked, 300)
    lines = top(db, app, "--once")
    assert [line for line in lines if RAW.search(line)] == []
    shown, below = line_of(lines, r"\x1b]0;owned")
    assert str(told.pid) in shown
    assert r"\x1b[2J\x202egone" in below
    assert r"waits for relation \x1b[31mred of" in line_of(lines, "blocked")[1]
    observer.execute("commit")
    gate.open()
    for job in (told, blocked):
        launcher.wait(job)
    finished = top(db, app, "--finished")
    assert [line for line in finished if RAW.search(line)] == []
    assert any(r"\x1b]0;owned" in line for line in finished)


@pytest.mark.parametrize("lines", [24, 10, 1000])
def test_a_long_queue_does_not_push_running_jobs_off_the_screen(
    db: Database,
    launcher: Session,
    gate: Gate,
    app: str,
    lines: int,
) -> None:
    launcher.execute("set pg_background.max_workers = 2")
    launcher.execute("set pg_background.when_full = 'queue'")
    running = [launcher.launch(gate.sql, label=f"at work {number}") for number in range(2)]
    gate.arrived(2)
    queued = [launcher.launch("select 1", label=f"later {number}") for number in range(30)]
    shown = top(db, app, "--once", lines=lines)
    assert len(shown) < lines
    assert "2 running, 30 queued" in shown[0]
    assert [line.split()[0] for line in shown if "at work" in line] == [
        str(job.pid) for job in running
    ]
    later = sum("later " in line for line in shown)
    if lines == 1000:
        assert later == 30
    else:
        # Two lines of a job, and those above and below; nothing is left that would fit.
        assert later == (lines - 9) // 2
        assert shown[-1].strip() == f"... and {30 - later} queued more"
    gate.open()
    for job in queued:
        launcher.wait(job)


def test_more_running_jobs_than_lines_are_counted(
    db: Database, launcher: Session, gate: Gate, app: str
) -> None:
    for number in range(8):
        launcher.launch(gate.sql, label=f"at work {number}")
    gate.arrived(8)
    shown = top(db, app, "--once", lines=12)
    assert len(shown) < 12
    seen = sum("at work" in line for line in shown)
    assert shown[-1].strip() == f"... and {8 - seen} running more"
    gate.open()
