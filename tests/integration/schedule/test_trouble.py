"""What goes wrong stops nothing: clocks die, roles go, databases are copied, texts turn bad, jobs fail."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from tests.fix_db import Database, Roles, unique_name
from tests.fix_wait import eventually
from tests.integration.schedule.schedules import (
    clock_pid,
    jobs,
    move_back,
    refused,
    run_now,
    schedule,
    seen,
    tick,
)
from tests.integration.session import Session
from tools.servers import Server

NEVER = "0 0 29 2 *"
WEEKLY = "@every 7 days"


def kill_clock(admin: Session) -> int:
    """Kill the session that keeps the clock, and wait until it is gone."""
    pid = eventually(lambda: clock_pid(admin))
    assert pid is not None
    admin.execute("select pg_terminate_backend(%s)", [pid])
    admin.until_gone(pid)
    return pid


@pytest.mark.parametrize(
    "touch",
    [
        "select background.pg_background_tick()",
        "select background.pg_background_launch('select 1')",
        "select background.pg_background_enqueue('select 1')",
        "select background.pg_background_check()",
    ],
)
def test_a_killed_clock_comes_back_with_the_next_call(
    launcher: Session, admin: Session, touch: str
) -> None:
    schedule(launcher, "job", "1 second", "select 1")
    eventually(lambda: jobs(launcher, "job"))
    killed = kill_clock(admin)
    before = len(jobs(launcher, "job"))
    launcher.execute(touch)
    assert eventually(lambda: clock_pid(admin)) != killed
    eventually(lambda: len(jobs(launcher, "job")) > before + 1)


def test_users_cannot_end_the_clock(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", "1 second", "select 1")
    pid = eventually(lambda: clock_pid(admin))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        launcher.execute("select pg_terminate_backend(%s)", [pid])


def test_the_doctor_says_who_keeps_the_clock(launcher: Session, admin: Session) -> None:
    query = "select ok, detail from background.pg_background_check() where item = 'clock'"
    assert launcher.rows(query) == [(True, "not kept: nothing is due later")]
    schedule(launcher, "job", NEVER, "select 1", timezone="UTC")
    pid = eventually(lambda: clock_pid(admin))
    eventually(lambda: f"kept by PID {pid} since " in launcher.rows(query)[0][1])
    ok, detail = launcher.rows(query)[0]
    assert ok
    assert "-02-29 00:00:00+00" in detail


def test_no_time_is_lost_when_the_clock_is_killed(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", "1 second", "select 1", missed="all", overlap="all")
    for number in range(4):
        eventually(lambda: len(jobs(launcher, "job")) > number)  # noqa: B023 (asked before the next turn)
        kill_clock(admin)
        tick(launcher)
    launcher.call("unschedule", "job")
    found = admin.rows(
        "select count(*) = count(distinct due_at) and max(due_at) - min(due_at) = (count(*) - 1) * interval '1 second'"
        " from pgbackground.job where due_at is not null"
    )
    assert found == [(True,)]


def test_the_clock_leaves_when_nothing_is_due_any_more(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", NEVER, "select 1")
    eventually(lambda: clock_pid(admin))
    launcher.call("unschedule", "job")
    eventually(lambda: clock_pid(admin) is None)


def test_a_dropped_role_stops_nobody_elses_schedule(
    launcher: Session, connect: Callable[..., Session], roles: Roles, server: Server, admin: Session
) -> None:
    gone = roles.create("gone")
    session = connect(gone)
    schedule(session, "theirs", WEEKLY, "select 1")
    session.close()
    schedule(launcher, "mine", "1 second", "select 1")
    eventually(lambda: clock_pid(admin))
    server.execute(sql.SQL("drop role {}").format(sql.Identifier(gone)))
    roles.created.remove(gone)
    move_back(admin, "theirs", "7 days")
    eventually(lambda: seen(admin, "theirs")["problem"])
    row = seen(admin, "theirs")
    assert (row["role"], row["active"], row["next_run"]) == (gone, False, None)
    assert row["problem"] == "its role does not exist any longer"
    before = len(jobs(launcher, "mine"))
    eventually(lambda: len(jobs(launcher, "mine")) > before + 1)
    with pytest.raises(psycopg.errors.UndefinedObject, match="role of the schedule"):
        run_now(admin, "theirs")
    assert admin.call("unschedule", "theirs") == [(True,)]


def test_a_copy_of_the_database_fires_nothing(
    launcher: Session, db: Database, server: Server, admin: Session, app: str
) -> None:
    schedule(launcher, "job", "1 second", "select 1", active=False)
    launcher.close()
    admin.close()
    with (
        server.database(unique_name("copy"), db.name) as name,
        psycopg.connect(server.dsn(name), autocommit=True) as connection,
    ):
        copy = Session(connection)
        copy.execute(
            "update pgbackground.schedule set active = true, next_run = now() - interval '1 day'"
        )
        assert tick(copy) == 0
        assert copy.value("select count(*) from pgbackground.job") == 0
        row = seen(copy, "job")
        assert (row["active"], row["next_run"], row["role"]) == (False, None, app)
        assert "made in another cluster or database" in row["problem"]
        with pytest.raises(psycopg.DatabaseError, match="another cluster or database"):
            run_now(copy, "job")
        # Made again by the same role, it is a schedule of this database; the copy of the old one can be forgotten.
        assert copy.call("unschedule", "job") == [(True,)]
        schedule(copy, "job", "1 second", "select 1")
        eventually(lambda: jobs(copy, "job"))
        copy.call("unschedule", "job")


def test_the_clock_of_the_original_is_not_that_of_a_copy(
    server: Server, launcher: Session, admin: Session, template: str, app: str
) -> None:
    schedule(launcher, "job", NEVER, "select 1")
    eventually(lambda: admin.value("select pid from pgbackground.clock"))
    kept = admin.rows("select pid, backend_start from pgbackground.clock")[0]
    with server.database(unique_name("copy"), template) as name:
        with psycopg.connect(server.dsn(name), autocommit=True) as dba:
            # As a dump brings it.
            dba.execute("update pgbackground.clock set pid = %s, backend_start = %s", kept)
        with psycopg.connect(server.dsn(name, app, app), autocommit=True) as connection:
            copy = Session(connection)
            schedule(copy, "job", "1 second", "select 1")
            eventually(lambda: jobs(copy, "job"))
            copy.call("unschedule", "job")


def test_a_zone_that_has_gone_bad_stops_nobody_else(launcher: Session, admin: Session) -> None:
    schedule(launcher, "bad zone", WEEKLY, "select 1")
    schedule(launcher, "bad text", WEEKLY, "select 1")
    schedule(launcher, "good", "1 second", "select 1")
    admin.execute(
        "update pgbackground.schedule set schedule = case name when 'bad zone' then '0 0 * * *' else '* *' end,"
        " timezone = 'Europe/Atlantis', next_run = next_run - interval '7 days' where name like 'bad%'"
    )
    eventually(
        lambda: seen(launcher, "bad zone")["problem"] and seen(launcher, "bad text")["problem"]
    )
    assert seen(launcher, "bad zone")["problem"].startswith(
        'time zone "Europe/Atlantis" is not known'
    )
    assert "is missing" in seen(launcher, "bad text")["problem"]
    before = len(jobs(launcher, "good"))
    eventually(lambda: len(jobs(launcher, "good")) > before + 1)
    # Made again, it is well.
    schedule(launcher, "bad zone", WEEKLY, "select 1")
    assert seen(launcher, "bad zone")["problem"] is None


def test_failures_in_a_row_are_counted_since_the_last_success(
    launcher: Session,
) -> None:
    launcher.execute("create table public.number (n int)")
    schedule(launcher, "job", NEVER, "select 1 / n from public.number")
    launcher.execute("insert into public.number values (0)")
    for failures in (1, 2, 3):
        assert launcher.finished(run_now(launcher, "job")).sqlstate == "22012"
        row = seen(launcher, "job")
        assert (row["failures_in_a_row"], row["last_state"]) == (failures, "error")
    launcher.execute("update public.number set n = 1")
    assert launcher.finished(run_now(launcher, "job")).state == "stopped"
    row = seen(launcher, "job")
    assert (row["failures_in_a_row"], row["last_state"]) == (0, "stopped")


def test_parameters_go_with_one_statement_and_its_semicolon(launcher: Session) -> None:
    options = json.dumps({"params": [7]})
    schedule(launcher, "job", NEVER, "select $1::int; ", options=options)
    job = run_now(launcher, "job")
    assert launcher.finished(job).state == "stopped"
    assert launcher.result(job, "n int4") == [(7,)]
    said = refused(launcher, "other", NEVER, sql="select $1::int; select 2", options=options)
    assert said.startswith("0A000")


def test_options_are_those_of_enqueue(launcher: Session) -> None:
    channel = f"c{launcher.pid}"
    options = {
        "label": "shown", "attempts": 2, "backoff": "0 s", "retry_on": "any", "priority": 7, "timeout_ms": 60000,
        "notify": channel, "keeps_rows": False, "params": [1, "two"],
    }  # fmt: skip
    schedule(launcher, "job", NEVER, "select 1 / ($1::int - 1), $2", options=json.dumps(options))
    launcher.execute(f"listen {channel}")
    handle = run_now(launcher, "job")
    notes = list(launcher.connection.notifies(timeout=10, stop_after=1))
    told = json.loads(notes[0].payload)
    assert told == {
        "cookie": handle.cookie,
        "label": "shown",
        "state": "error",
        "sqlstate": "22012",
    }
    job = launcher.job(handle)
    assert (job["label"], job["attempt"], job["attempts"], job["priority"]) == ("shown", 2, 2, 7)
    assert seen(launcher, "job")["failures_in_a_row"] == 1
    assert seen(launcher, "job")["options"] == options


def test_a_schedules_job_is_called_like_it(launcher: Session) -> None:
    schedule(launcher, "nightly report", NEVER, "select 1")
    assert launcher.job(run_now(launcher, "nightly report"))["label"] == "nightly report"
    schedule(launcher, "x" * 65, NEVER, "select 1")
    assert launcher.job(run_now(launcher, "x" * 65))["label"] is None


def test_what_must_run_by_itself_is_scheduled_too(launcher: Session) -> None:
    launcher.execute("create table public.large (n int)")
    schedule(launcher, "job", NEVER, "vacuum public.large")
    handle = run_now(launcher, "job")
    assert launcher.finished(handle).state == "stopped"
    assert launcher.job(handle)["mode"] == "top-level"


def test_an_open_transaction_holds_only_the_schedule_it_has_touched(
    connect: Callable[..., Session], observer: Session
) -> None:
    schedule(observer, "held", "1 second", "select 1")
    schedule(observer, "free", "1 second", "select 1")
    session = connect(autocommit=False)
    run_now(session, "held")
    before = len(jobs(observer, "free"))
    eventually(lambda: len(jobs(observer, "free")) > before + 1)
    held = len(jobs(observer, "held"))
    session.connection.rollback()
    eventually(lambda: len(jobs(observer, "held")) > held)


def test_a_schedule_held_by_somebody_does_not_keep_the_clock_busy(
    connect: Callable[..., Session], observer: Session, admin: Session
) -> None:
    schedule(observer, "held", "1 second", "select 1")
    pid = eventually(lambda: clock_pid(admin))
    session = connect(autocommit=False)
    run_now(session, "held")
    due = seen(observer, "held")["next_run"]
    eventually(lambda: admin.value("select clock_timestamp() > %s + interval '2 s'", [due]))
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
        before = sum(map(int, file.read().split()[13:15]))
    start = admin.value("select clock_timestamp()")
    eventually(lambda: admin.value("select clock_timestamp() > %s + interval '2 s'", [start]))
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
        ticks = sum(map(int, file.read().split()[13:15])) - before
    # Hundredths of a second of CPU in 2 s.
    assert ticks < 50
    session.connection.rollback()
