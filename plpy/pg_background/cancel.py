"""cancel: ask a job to stop, and end its worker when it does not."""

from __future__ import annotations

from pg_background import db, registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_GRACE_MS = 3600000


def cancel(pid: int, cookie: int, grace_ms: int | None = 0) -> None:
    """Ask the job to stop; with a grace, wait so many ms (at most 1 h) and then end its worker.

    A job that has ended is left alone. Raises 42704, 55000, 42501.
    """
    row = registry.find(pid, cookie, signal=True)
    if row["state"] in registry.ENDED:
        return
    registry.tell("_cancel", "cancel", row["cookie"])
    if grace_ms and grace_ms > 0 and not _ends(row, min(grace_ms, LONGEST_GRACE_MS)):
        registry.tell("_terminate", "terminate", row["cookie"])


def _ends(row: dict[str, Any], grace_ms: int) -> bool:
    return db.await_lock(row["lock_key"], grace_ms)
