"""A launcher that waits for a job that waits for the launcher is told so, and never hangs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import psycopg
import pytest

from tests.integration.session import Handle, Session, elapsed_ms

HANG_MS = 3000
UPDATE = "update public.t set n = n"


def _wait(session: Session, job: Handle) -> None:
    session.wait(job)


def _result(session: Session, job: Handle) -> None:
    session.result(job)


def _drain(session: Session, job: Handle) -> None:
    session.execute(
        "select * from background.pg_background_drain(array[(%s, %s)::background.pg_background_handle])",
        tuple(job),
    )


WAYS = (_wait, _result, _drain)


@pytest.mark.timeout(900)
def test_no_deadlock_between_launcher_and_worker_hangs(
    connect: Callable[..., Session],
    app: str,
    chance: random.Random,
    rounds: Callable[[int, int], int],
    counted: Callable[[str], None],
) -> None:
    """Row locks, and CREATE INDEX or REINDEX CONCURRENTLY that wait for the launcher's snapshot."""
    launcher = connect()
    launcher.execute("create table public.own (n int4 primary key)")
    launcher.execute("insert into public.own values (1)")
    # far more than the 3 s, so that what hangs is seen as such
    launcher.execute("set statement_timeout = '10s'")
    kinds = {"row": 0, "reindex": 0, "index": 0}
    longest = 0.0
    for turn in range(rounds(3, 30)):
        kind = chance.choice(tuple(kinds)) if turn >= len(kinds) else tuple(kinds)[turn]
        launcher.execute("begin")
        launcher.execute("update public.own set n = n")
        if kind == "row":
            text = "update public.own set n = n"
        elif kind == "reindex":
            text = "reindex index concurrently public.own_pkey"
        else:
            text = f"create index concurrently own_{turn} on public.own (n)"
        job = launcher.launch(text)
        began = time.monotonic()
        with pytest.raises(psycopg.errors.DeadlockDetected):
            chance.choice(WAYS)(launcher, job)
        longest = max(longest, elapsed_ms(began))
        launcher.execute("rollback")
        # Not by waiting: the index build would wait for that session, too.
        assert connect(app).until_ended(job).completed
        kinds[kind] += 1
    counted(f"{kinds} deadlocks, each raised as 40P01; the longest took {longest:.0f} ms")
    assert longest < HANG_MS
