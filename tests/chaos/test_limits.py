"""Limits hold exactly while fifty sessions launch at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database
from tests.integration.session import Session

LIMIT = 7
SPARE = 15


def _most_at_once(spans: list[tuple[float, float]]) -> int:
    """Return how many of the spans overlap at most; one that begins when another ends does not."""
    events = sorted(
        [(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans],
        key=lambda event: (event[0], event[1]),
    )
    now = most = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


@pytest.mark.timeout(900)
def test_fifty_launchers_never_run_more_jobs_than_allowed(
    connect: Callable[..., Session],
    admin: Session,
    db: Database,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    admin.execute(f"insert into background.pg_background_limits values ('role', null, {LIMIT})")
    free = admin.value("select current_setting('max_connections')::int4") - SPARE
    sessions = [connect() for _ in range(min(50, free // 2))]
    each = rounds(3, 40)
    refused = launched = 0
    lock = threading.Lock()
    stop = threading.Event()
    seen: list[int] = []

    def look() -> None:
        # One snapshot of the registry counts exactly.
        observer = Session(db.connect())
        while not stop.wait(0.002):
            seen.append(
                observer.value("select count(*) from pgbackground.job where state = 'running'")
            )

    def launch(session: Session) -> None:
        nonlocal refused, launched
        for _ in range(each):
            try:
                job = session.launch("select pg_sleep(0.003)")
            except psycopg.errors.ConfigurationLimitExceeded:
                with lock:
                    refused += 1
                continue
            session.wait(job)
            with lock:
                launched += 1

    watcher = threading.Thread(target=look)
    threads = [threading.Thread(target=launch, args=[session]) for session in sessions]
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    spans = admin.rows(
        "select extract(epoch from launched_at), extract(epoch from finished_at)"
        " from pgbackground.job where state = 'stopped'"
    )
    most = max(_most_at_once(spans), *seen)
    counted(
        f"{len(sessions)} sessions, {launched} jobs ran, {refused} refused;"
        f" at most {most} at once of {LIMIT} allowed, {len(seen)} looks"
    )
    assert len(spans) == launched
    assert 1 < most <= LIMIT
