"""Workers and launchers are ended at random moments: every outcome is true."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.integration.session import Handle, Session

SECOND_MS = 1000


def _job(number: int, pause: float) -> str:
    return (
        f"insert into public.t values ({number}); select pg_sleep({pause});"
        f" insert into public.t values ({number})"
    )


@pytest.mark.timeout(1800)
def test_the_outcome_of_a_job_whose_worker_is_killed_at_a_random_moment_is_true(
    connect: Callable[..., Session],
    admin: Session,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    """The worker may be registering, running, recording or between two jobs of its link."""
    launcher = connect()
    worker = launcher.launch("select 1")
    launcher.wait(worker)
    states: dict[str | None, int] = {}
    late = untrue = 0
    for number in range(rounds(30, 1000)):
        delay, pause = chance.random() * 0.012, chance.choice((0, 0.002, 0.006))

        def kill(pid: int = worker.pid, delay: float = delay) -> None:
            time.sleep(delay)
            admin.execute("select pg_terminate_backend(%s, 20000)", [pid])

        killer = threading.Thread(target=kill)
        killer.start()
        job = launcher.launch(_job(number, pause))
        killer.join()
        if job.pid != worker.pid:
            # Killed before it registered: another worker runs the job, unharmed.
            launcher.wait(job)
        late += not launcher.wait(job, SECOND_MS)
        outcome = launcher.outcome(job)
        rows = launcher.value("select count(*) from public.t where n = %s", [number])
        untrue += (outcome.state, outcome.sqlstate, rows) not in {
            ("stopped", None, 2),
            ("error", "57P01", 0),
        }
        states[outcome.state] = states.get(outcome.state, 0) + 1
        worker = job
        if outcome.state == "error" or chance.random() < 0.5:
            worker = launcher.launch("select 1")
            launcher.wait(worker)
        launcher.detach(job)
    counted(f"{sum(states.values())} kills, {states}; {untrue} untrue, {late} found late")
    assert (untrue, late) == (0, 0)


@pytest.mark.timeout(1800)
def test_the_jobs_of_a_launcher_that_is_ended_go_on_to_their_end(
    connect: Callable[..., Session],
    admin: Session,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    observer = connect()
    number = unfinished = 0
    target = rounds(15, 500)
    while number < target:
        launcher = connect()
        jobs: list[tuple[int, Handle]] = []
        for _ in range(5):
            jobs.append((number, launcher.launch(_job(number, chance.random() / 50))))
            number += 1
        time.sleep(chance.random() / 100)
        if chance.random() < 0.5:
            admin.execute("select pg_terminate_backend(%s, 20000)", [launcher.pid])
        launcher.close()
        for n, job in jobs:
            observer.wait(job)
            rows = observer.value("select count(*) from public.t where n = %s", [n])
            unfinished += (observer.outcome(job).state, rows) != ("stopped", 2)
    counted(
        f"{number} jobs whose launcher was ended; {unfinished} did not end as if nothing had happened"
    )
    assert unfinished == 0


@pytest.mark.timeout(1800)
def test_a_cancel_that_comes_late_never_reaches_the_next_job_of_the_link(
    connect: Callable[..., Session],
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    """Half of the cancels come from the launcher itself, half from another session of the role."""
    launcher, other = connect(), connect()
    wrong = untrue = 0
    states: dict[str | None, int] = {}
    reused = 0
    count = rounds(80, 10_000)
    with ThreadPoolExecutor(1) as pool:
        for number in range(count):
            job = launcher.launch(f"insert into public.t values ({number})")
            time.sleep(chance.random() * 0.003)
            elsewhere = pool.submit(_cancel, other, job) if number % 2 else None
            if elsewhere is None:
                _cancel(launcher, job)
            following = launcher.launch("select 1")
            launcher.wait(following)
            reused += following.pid == job.pid
            wrong += launcher.outcome(following).state != "stopped"
            if elsewhere is not None:
                elsewhere.result()
            launcher.wait(job)
            outcome = launcher.outcome(job)
            rows = launcher.value("select count(*) from public.t where n = %s", [number])
            untrue += (outcome.state, rows) not in {("stopped", 1), ("canceled", 0)}
            states[outcome.state] = states.get(outcome.state, 0) + 1
            launcher.detach(following)
            launcher.detach(job)
    counted(
        f"{count} cancels, {states}, the next job ran on the same link {reused} times;"
        f" canceled without a cancel: {wrong}; untrue: {untrue}"
    )
    assert (wrong, untrue) == (0, 0)


def _cancel(session: Session, job: Handle) -> None:
    try:
        session.cancel(job)
    except psycopg.errors.UndefinedObject:
        pytest.fail("a job that was just launched is unknown to another session")
