"""What is due becomes a job: exactly once, on time, by the rules of overlap and missed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.fix_wait import Gate, eventually
from tests.integration.queues import limit
from tests.integration.schedule.schedules import (
    jobs,
    move_back,
    run_now,
    schedule,
    seen,
    tick,
)
from tests.integration.session import Session

WEEKLY = "@every 7 days"


def test_each_time_becomes_one_job_with_8_tickers_at_once(
    connect: Callable[..., Session], admin: Session, launcher: Session
) -> None:
    launcher.execute("create table public.done (at timestamptz default clock_timestamp())")
    for number in range(4):
        schedule(
            launcher, f"job {number}", WEEKLY, "insert into public.done default values",
            missed="all", overlap="all", options='{"keeps_rows": false}',
        )  # fmt: skip
    tickers = [connect() for _ in range(8)]
    for ticker in tickers:
        tick(ticker)
    start = threading.Barrier(9)
    queued = [0] * 8

    def work(number: int) -> None:
        start.wait()
        for _ in range(20):
            queued[number] += tick(tickers[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    # One transaction, so that all of them are due at once.
    admin.execute(
        "update pgbackground.schedule set next_run = next_run - 7 * 750 * interval '1 day'"
    )
    start.wait()
    for thread in threads:
        thread.join()
    found = admin.rows(
        "select schedule, count(*), count(distinct due_at), max(due_at) - min(due_at) = 7 * 749 * interval '1 day'"
        " from background.pg_background_jobs where schedule is not null group by schedule order by schedule"
    )
    assert found == [(f"job {number}", 750, 750, True) for number in range(4)]
    eventually(lambda: admin.value("select count(*) from public.done") == 3000, 60)
    assert admin.value("select sum(dropped) from background.pg_background_schedules") == 0
    # The clock may have queued some of them.
    assert sum(queued) <= 3000


def test_a_schedule_of_a_second_runs_about_on_time(launcher: Session) -> None:
    launcher.execute("create table public.run (at timestamptz default clock_timestamp())")
    schedule(launcher, "job", "1 second", "insert into public.run default values", missed="all")
    eventually(lambda: launcher.value("select count(*) from public.run") >= 4)
    launcher.call("unschedule", "job")
    late = launcher.value(
        "select max(extract(epoch from at - date_trunc('second', at))) from public.run"
    )
    apart = launcher.value(
        "select max(date_trunc('second', at) - date_trunc('second', before)) from"
        " (select at, lag(at) over (order by at) as before from public.run) r"
    )
    assert late < 0.9
    assert apart.total_seconds() == 1


def test_of_missed_times_the_last_one_becomes_a_job(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", WEEKLY, "select 1")
    due = seen(launcher, "job")["next_run"]
    move_back(admin, "job", "70 days")
    eventually(lambda: len(jobs(launcher, "job")) == 1)
    assert (due - jobs(launcher, "job")[0]["due_at"]).days == 7
    row = seen(launcher, "job")
    assert (row["next_run"], row["dropped"], row["missed"]) == (due, 9, "last")


def test_missed_times_may_be_skipped(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", WEEKLY, "select 1", missed="skip")
    due = seen(launcher, "job")["next_run"]
    move_back(admin, "job", "70 days")
    eventually(lambda: seen(launcher, "job")["next_run"] == due)
    assert seen(launcher, "job")["dropped"] == 10
    assert jobs(launcher, "job") == []


def test_a_time_of_this_moment_is_not_missed(launcher: Session) -> None:
    schedule(launcher, "job", "1 second", "select 1", missed="skip")
    eventually(lambda: len(jobs(launcher, "job")) >= 2)


def test_what_is_older_than_max_late_is_dropped(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", WEEKLY, "select 1", missed="all", overlap="all", max_late="20 days")
    due = seen(launcher, "job")["next_run"]
    move_back(admin, "job", "70 days")
    eventually(lambda: seen(launcher, "job")["next_run"] == due)
    # In the last 20 days it was due twice or three times.
    found = len(jobs(launcher, "job"))
    assert found in (2, 3)
    assert seen(launcher, "job")["dropped"] == 10 - found


def test_a_timestamp_is_due_once(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", "2099-01-01 12:00", "select 1", timezone="Europe/Berlin")
    assert str(launcher.value(
        "select next_run at time zone 'UTC' from background.pg_background_schedules"
    )) == "2099-01-01 11:00:00"  # fmt: skip
    launcher.call("unschedule", "job")
    soon = launcher.value(
        "select date_trunc('second', clock_timestamp() at time zone 'UTC' + interval '2 s')::text"
    )
    schedule(launcher, "soon", soon, "select 1", timezone="UTC")
    eventually(lambda: [job["state"] for job in jobs(launcher, "soon")] == ["stopped"])
    row = seen(launcher, "soon")
    assert (row["active"], row["next_run"], row["last_state"]) == (True, None, "stopped")
    assert row["last_run"] == admin.value("select (%s || '+00')::timestamptz", [soon])


def test_jitter_lets_a_job_start_later(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", WEEKLY, "select 1", jitter="20 days")
    move_back(admin, "job", "7 days")
    eventually(lambda: len(jobs(launcher, "job")) == 1)
    job = jobs(launcher, "job")[0]
    assert 0 <= (job["run_at"] - job["due_at"]).total_seconds() <= 20 * 86400


def test_reboot_runs_once_after_each_start_of_the_server(launcher: Session, admin: Session) -> None:
    schedule(launcher, "job", "@reboot", "select 1")
    tick(launcher)
    assert jobs(launcher, "job") == []
    # As if the server had been started since.
    admin.execute("update pgbackground.schedule set booted_at = booted_at - interval '1 day'")
    tick(launcher)
    tick(launcher)
    started = admin.value("select pg_postmaster_start_time()")
    assert [job["due_at"] for job in jobs(launcher, "job")] == [started]
    schedule(launcher, "job", "@reboot", "select 2")
    tick(launcher)
    assert len(jobs(launcher, "job")) == 1


@pytest.mark.parametrize(("overlap", "waiting"), [("one", 1), ("skip", 0), ("all", 3)])
def test_overlap_says_how_many_wait_while_one_runs(
    launcher: Session, admin: Session, gate: Gate, overlap: str, waiting: int
) -> None:
    schedule(launcher, "job", WEEKLY, gate.sql, overlap=overlap, missed="all")
    limit(admin, "role", 1, launcher.connection.info.user)
    handle = run_now(launcher, "job")
    gate.arrived()
    move_back(admin, "job", "21 days")
    eventually(lambda: seen(launcher, "job")["next_run"] > admin.value("select now()"))
    states = sorted(job["state"] for job in jobs(launcher, "job"))
    assert states == ["queued"] * waiting + ["running"]
    assert seen(launcher, "job")["dropped"] == 3 - waiting
    gate.open()
    launcher.wait(handle)
    eventually(lambda: {job["state"] for job in jobs(launcher, "job")} == {"stopped"})
    assert len(jobs(launcher, "job")) == waiting + 1


def test_at_most_one_job_of_a_schedule_runs(launcher: Session, admin: Session, gate: Gate) -> None:
    schedule(launcher, "job", WEEKLY, gate.sql)
    first = run_now(launcher, "job")
    gate.arrived()
    second = run_now(launcher, "job")
    third = run_now(launcher, "job")
    assert second.cookie != first.cookie
    assert third.cookie == second.cookie
    # There is room for it, and it does not start.
    assert launcher.wait(second, 300) is False
    assert launcher.job(second)["waits_for"] == f"job {first.cookie}"
    move_back(admin, "job", "7 days")
    eventually(lambda: seen(launcher, "job")["dropped"] == 1)
    gate.open()
    assert launcher.finished(second).state == "stopped"


def test_skip_gives_the_handle_of_the_unfinished_job(launcher: Session, gate: Gate) -> None:
    schedule(launcher, "job", WEEKLY, gate.sql, overlap="skip")
    first = run_now(launcher, "job")
    gate.arrived()
    assert run_now(launcher, "job").cookie == first.cookie
    gate.open()
    launcher.wait(first)
    second = run_now(launcher, "job")
    assert second.cookie != first.cookie
    assert launcher.finished(second).state == "stopped"


def test_a_job_whose_worker_is_killed_does_not_stop_the_schedule(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    schedule(launcher, "job", "1 second", gate.sql)
    worker = gate.arrived()[0]
    gate.open()
    admin.execute("select pg_terminate_backend(%s)", [worker])
    eventually(lambda: "stopped" in {job["state"] for job in jobs(launcher, "job")})


def test_a_job_is_as_old_as_its_time_however_long_the_clock_has_been_there(
    launcher: Session,
) -> None:
    schedule(launcher, "job", "1 second", "select 1", overlap="all")
    eventually(lambda: len(jobs(launcher, "job")) > 2)
    launcher.call("unschedule", "job")
    found = launcher.rows(
        "select launched_at >= due_at from background.pg_background_jobs where due_at is not null"
    )
    assert {right for (right,) in found} == {True}
