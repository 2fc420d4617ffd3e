"""get_progress: how far a job is."""

from __future__ import annotations

from pg_background import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def get_progress(pid: int | None, cookie: int | None) -> tuple[Any, ...] | None:
    """The columns of pg_background_progress_info; None before the first report, and for no job. Raises 42501."""
    row = registry.known(pid, cookie)
    if row is None:
        registry.refuse_others(pid, cookie)
        return None
    if row["progress_pct"] is None:
        return None
    return row["progress_pct"], row["progress_msg"]
