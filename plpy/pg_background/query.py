"""run_query: run with rows."""

from __future__ import annotations

from pg_background import detach, launch, result, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def opened(
    sql: str | None, queue_size: int | None, timeout_ms: int | None, label: str | None
) -> tuple[Any, ...]:
    """Launch and wait; pid and cookie, then what there is to be read as `result.opened`.

    Raises 57014 on time-out (the job is canceled), the job's own error, and as `launch`; the job is
    detached then.
    """
    job = launch.launch(sql, queue_size, label)
    if job is None:
        return (None,) * 6
    try:
        run.wait_or_cancel(job, timeout_ms)
        return (job.pid, job.cookie, *result.opened(job.pid, job.cookie))
    except BaseException:
        detach.forget(job)
        raise
