"""run: launch, wait, outcome and detach in one call."""

from __future__ import annotations

from time import monotonic

from pg_background import cancel, db, launch, outcome, session, stats, wait
from pg_background.errors import Refusal

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
    except BaseException as error:
        raise left_behind(job, error) from None
    finally:
        session.jobs().pop(job.cookie, None)
    return (*columns, timed_out, round((monotonic() - start) * 1000))


def wait_or_cancel(job: session.TrackedJob, timeout_ms: int | None) -> None:
    """Wait for the job, and leave none behind when the time is over or the caller stops waiting.

    Raises 57014 when it is over, and as `wait`.
    """
    try:
        ended = wait.wait(job.pid, job.cookie, timeout_ms)
    except BaseException as error:
        raise left_behind(job, error) from None
    if not ended:
        stats.timed_out()
        raise left_behind(job, Refusal(f"query timed out after {timeout_ms} ms", "57014"))


def left_behind(job: session.TrackedJob, error: BaseException) -> BaseException:
    """The caller stops waiting for his job: cancel it, and say in the error's detail what has become of it."""
    try:
        cancel.cancel(job.pid, job.cookie, GRACE_MS)
        state = outcome.outcome(job.pid, job.cookie)[2]
    except (Refusal, db.ServerError):
        said = "The job could not be canceled: its outcome is unknown."
    else:
        said = f"The job was canceled; its state is {state}."
    if not isinstance(error, (Refusal, db.ServerError)):
        return error
    fields = error.fields if isinstance(error, Refusal) else db.server_fields(error)
    sqlstate = error.sqlstate if isinstance(error, Refusal) else db.sqlstate_of(error)
    fields = {**fields, "detail": "\n".join(filter(None, (fields.get("detail"), said)))}
    return Refusal(str(error), sqlstate, **fields)
