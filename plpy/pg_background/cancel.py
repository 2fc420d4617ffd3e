"""cancel: ask a job to stop, and end its worker when it does not."""

from __future__ import annotations

from pg_background import db, link, registry

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
    command("_cancel", "cancel", row["cookie"])
    if grace_ms and grace_ms > 0 and not _ends(row, min(grace_ms, LONGEST_GRACE_MS)):
        command("_terminate", "terminate", row["cookie"])


def _ends(row: dict[str, Any], grace_ms: int) -> bool:
    return db.await_lock(row["lock_key"], grace_ms)


def command(function: str, word: str, cookie: int) -> None:
    """Give a sealed command over a link of this session's own user."""
    login = db.session_user()
    db.privileged(
        lambda: link.command(
            login,
            True,
            db.call_text(function, cookie, link.seal(word, cookie)) + "::pg_catalog.text",
        )
    )
