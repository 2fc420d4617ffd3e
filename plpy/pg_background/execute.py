"""execute: an autonomous transaction in one call."""

from __future__ import annotations

from pg_background import launch, registry, result, run, session
from pg_background.errors import Refusal


def execute(sql: str | None, params: str | None, timeout_ms: int | None, label: str | None) -> int:
    """Run the SQL as a job, wait for its end, and return its number of rows; nothing is left to detach.

    Raises the job's own error, 57014 when timeout_ms (0 or less: never) is over and the job is canceled,
    22004 for a null SQL, and as `launch_params` and `wait`; the job does not go on then.
    """
    if sql is None:
        raise Refusal(
            "the SQL must not be null",
            "22004",
            hint="A null comes of a part that is null: format('... %L', value) writes NULL for it, || does not.",
        )
    job = launch.launch(sql, 0, label, launch.parameters(params), keeps_rows=False, detached=True)
    return _rows_of(job, timeout_ms) if job else 0


def _rows_of(job: session.TrackedJob, timeout_ms: int | None) -> int:
    """Wait for the job's end; how many rows it had. Raises its error."""
    try:
        run.wait_or_cancel(job, timeout_ms)
        row = registry.find(job.pid, job.cookie)
    finally:
        session.jobs().pop(job.cookie, None)
    if row["state"] != "stopped":
        raise result.of_job(row)
    return row["row_count"] or 0
