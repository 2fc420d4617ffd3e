"""run: launch, wait, outcome and detach in one call."""

from __future__ import annotations

from time import monotonic

from pg_background import cancel, launch, outcome, session, stats, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GRACE_MS = 1000


def run(
    sql: str | None, queue_size: int | None, timeout_ms: int | None, label: str | None
) -> tuple[Any, ...] | None:
    """The columns of pg_background_run_result; None for a null SQL. On time-out the job is canceled with 1 s grace."""
    start = monotonic()
    # Nobody else gets the handle before the end, so the job is born detached: that saves a round trip.
    job = launch.launch(sql, queue_size, label, keeps_rows=False, detached=True)
    if job is None:
        return None
    timed_out = False
    try:
        timed_out = not wait.wait(job.pid, job.cookie, timeout_ms)
        if timed_out:
            cancel.cancel(job.pid, job.cookie, GRACE_MS)
            stats.timed_out()
        columns = outcome.outcome(job.pid, job.cookie)
    finally:
        session.jobs().pop(job.cookie, None)
    return (*columns, timed_out, round((monotonic() - start) * 1000))
