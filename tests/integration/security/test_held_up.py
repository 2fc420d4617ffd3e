"""Somebody keeps, or waits for, every lock that pg_locks shows: nobody else is held up by that."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.security import locks
from tests.integration.session import Handle, Session, elapsed_ms

# How much later than without the attacker a call may return, at most.
LATE_MS = 3000
HANDLE = "({0}, {1})::background.pg_background_handle"
# The ways to wait for a job, without a time-out and with a long one.
WAITS = {
    "wait": "select background.pg_background_wait({0}, {1})",
    "wait with a time-out": "select background.pg_background_wait({0}, {1}, 60000)",
    "await": "call background.pg_background_await({0}, {1})",
    "await with a time-out": "call background.pg_background_await({0}, {1}, 60000)",
    "drain": f"select state from background.pg_background_drain(array[{HANDLE}])",
    "drain with a time-out": f"select state from background.pg_background_drain(array[{HANDLE}], 60000)",
    "wait_any": f"select cookie from background.pg_background_wait_any(array[{HANDLE}])",
    "wait_any with a time-out": f"select cookie from background.pg_background_wait_any(array[{HANDLE}], 60000)",
    "result": "select * from background.pg_background_result({0}, {1}) as t(answer text)",
}
# The same where the job has ended already, asked with hardly any time.
POLLS = {
    "wait": "select background.pg_background_wait({0}, {1}, 1)",
    "await": "call background.pg_background_await({0}, {1}, 1)",
    "drain": f"select completed from background.pg_background_drain(array[{HANDLE}], 1)",
    "wait_any": f"select cookie from background.pg_background_wait_any(array[{HANDLE}], 1)",
}


@pytest.fixture
def squat(
    connect: Callable[..., Session], roles: Roles, admin: Session
) -> Callable[[int], list[locks.Squatter]]:
    """Give a function that has a stranger wait for every advisory lock that a process has."""
    stranger = roles.create("stranger")

    def squatted(pid: int) -> list[locks.Squatter]:
        watcher = connect(stranger)
        found = [locks.Squatter(connect(stranger), key) for key in locks.of_process(watcher, pid)]
        for each in found:
            each.waits(admin)
        return found

    return squatted


@pytest.mark.parametrize("verb", WAITS)
def test_who_waits_for_a_job_returns_at_its_end_though_another_has_its_locks(
    launcher: Session,
    observer: Session,
    gate: Gate,
    admin: Session,
    squat: Callable[[int], list[locks.Squatter]],
    verb: str,
) -> None:
    job = launcher.launch(f"{gate.sql}; select 'done'")
    gate.arrived()
    squat(job.pid)
    observer.execute("set statement_timeout = '20s'")
    observer.connection.pgconn.send_query(WAITS[verb].format(*job).encode())
    gate.open()
    began = time.monotonic()
    answer = observer.connection.pgconn.get_result()
    assert answer is not None
    assert not answer.error_message
    assert elapsed_ms(began) < LATE_MS
    assert admin.outcome(job).state == "stopped"


@pytest.mark.parametrize("verb", POLLS)
def test_who_asks_after_the_end_is_told_of_it_though_another_has_its_locks(
    launcher: Session,
    gate: Gate,
    admin: Session,
    squat: Callable[[int], list[locks.Squatter]],
    verb: str,
) -> None:
    """The launcher itself, which may know the handle without a look into the registry."""
    job = launcher.launch(f"{gate.sql}; select 'done'")
    gate.arrived()
    squat(job.pid)
    gate.open()
    assert admin.until_ended(job).state == "stopped"
    began = time.monotonic()
    answers = launcher.execute(POLLS[verb].format(*job))
    if verb != "await":
        assert answers.fetchall()[0][0] in (True, job.cookie)
    assert elapsed_ms(began) < LATE_MS


def test_the_first_of_many_to_end_is_found_though_another_has_its_locks(
    launcher: Session,
    gate: Gate,
    connect: Callable[..., Session],
    squat: Callable[[int], list[locks.Squatter]],
) -> None:
    never = Gate(connect(None).connection)
    running = [launcher.launch(never.sql) for _ in range(8)]
    first = launcher.launch(f"{gate.sql}; select 'done'")
    gate.arrived()
    squat(first.pid)
    launcher.execute("set statement_timeout = '20s'")
    handles = ", ".join(HANDLE.format(*job) for job in (*running, first))
    launcher.connection.pgconn.send_query(
        f"select cookie from background.pg_background_wait_any(array[{handles}])".encode()
    )
    gate.open()
    began = time.monotonic()
    answer = launcher.connection.pgconn.get_result()
    assert answer is not None
    assert answer.get_value(0, 0) == str(first.cookie).encode(), answer.error_message
    assert elapsed_ms(began) < LATE_MS
    never.open()


@pytest.mark.parametrize("who", ["launcher", "observer", "admin"])
def test_cancel_with_a_grace_returns_at_the_jobs_end_though_another_has_its_locks(
    launcher: Session,
    observer: Session,
    admin: Session,
    gate: Gate,
    squat: Callable[[int], list[locks.Squatter]],
    who: str,
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    squat(job.pid)
    session = {"launcher": launcher, "observer": observer, "admin": admin}[who]
    session.execute("set statement_timeout = '20s'")
    began = time.monotonic()
    session.cancel(job, 60_000)
    assert elapsed_ms(began) < LATE_MS
    assert admin.outcome(job).state == "canceled"


def test_a_job_that_does_not_listen_is_ended_after_the_grace_though_another_wants_its_locks(
    launcher: Session, gate: Gate, squat: Callable[[int], list[locks.Squatter]]
) -> None:
    job = launcher.launch(
        "do $$ begin loop begin perform pg_sleep(60); exception when query_canceled then null;"
        f" end; end loop; end $$; {gate.sql}"
    )
    squat(job.pid)
    began = time.monotonic()
    launcher.cancel(job, 500)
    assert elapsed_ms(began) < 500 + LATE_MS
    assert launcher.wait(job, LATE_MS)
    assert launcher.outcome(job).state == "canceled"


def test_run_keeps_its_time_out_though_another_wants_the_locks(
    launcher: Session,
    gate: Gate,
    squat: Callable[[int], list[locks.Squatter]],
) -> None:
    launcher.execute("set statement_timeout = '20s'")
    launcher.connection.pgconn.send_query(
        f"select timed_out from background.pg_background_run($job${gate.sql}$job$, 0, 2000)".encode()
    )
    began = time.monotonic()
    squat(gate.arrived()[0])
    answer = launcher.connection.pgconn.get_result()
    assert answer is not None
    assert answer.get_value(0, 0) == b"t", answer.error_message
    assert elapsed_ms(began) < 2000 + 1000 + LATE_MS


def test_a_session_whose_jobs_locks_another_has_goes_on_launching(
    launcher: Session, gate: Gate, squat: Callable[[int], list[locks.Squatter]]
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    squat(job.pid)
    gate.open()
    launcher.execute("set statement_timeout = '20s'")
    began = time.monotonic()
    assert launcher.until_ended(job).state == "stopped"
    assert [launcher.result(launcher.launch(f"select {n}")) for n in range(3)] == [
        [("0",)],
        [("1",)],
        [("2",)],
    ]
    assert elapsed_ms(began) < LATE_MS


def test_a_handle_of_a_squatted_job_is_still_drained_and_detached(
    launcher: Session, gate: Gate, squat: Callable[[int], list[locks.Squatter]]
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    squat(job.pid)
    gate.open()
    assert launcher.until_ended(job).state == "stopped"
    began = time.monotonic()
    drained = launcher.rows(
        f"select pid, cookie, state from background.pg_background_drain(array[{HANDLE.format(*job)}])"
    )
    assert [(Handle(*row[:2]), row[2]) for row in drained] == [(job, "stopped")]
    assert elapsed_ms(began) < LATE_MS
    assert launcher.listed() == []
