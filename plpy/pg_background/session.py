"""What one session remembers: its links, its jobs, and what it has read of the server once."""

from __future__ import annotations

from pg_background import db

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_LET_GO = 1000


class TrackedJob:
    """A job that this session launched and has not detached."""

    __slots__ = (
        "consumed",
        "cookie",
        "keeps_rows",
        "label",
        "lock_key",
        "pid",
        "role",
    )

    def __init__(
        self, cookie: int, lock_key: int, pid: int, role: str, label: str | None, keeps_rows: bool
    ) -> None:
        self.cookie = cookie
        self.lock_key = lock_key
        self.pid = pid
        self.role = role
        self.label = label
        self.keeps_rows = keeps_rows
        self.consumed = False


def _memory() -> dict[str, Any]:
    """The session's memory outlives a reload of the modules (an upgrade under an open session)."""
    memory: dict[str, Any] = db.session_memory()
    return memory


def jobs() -> dict[int, TrackedJob]:
    """This session's jobs by cookie, in order of launch."""
    memory = _memory()
    if "jobs" not in memory:
        memory["jobs"] = {}
    found: dict[int, TrackedJob] = memory["jobs"]
    return found


def let_go(cookie: int) -> None:
    """Remember that this session has detached a job: the registry may hear of it a little later."""
    gone: dict[int, None] = _memory().setdefault("let go", {})
    gone[cookie] = None
    if len(gone) > MOST_LET_GO:
        del gone[next(iter(gone))]


def has_let_go(cookie: int) -> bool:
    """Has this session detached the job, as far as it remembers?"""
    return cookie in _memory().get("let go", {})


def links() -> list[Any]:
    """This session's open links, the one used last at the end."""
    memory = _memory()
    if "links" not in memory:
        memory["links"] = []
    found: list[Any] = memory["links"]
    return found


def remembered(name: str) -> Any:
    """A value kept by `remember`, or None."""
    return _memory().get(name)


def remember(name: str, value: Any) -> Any:
    """Keep a value for the life of the session, and return it."""
    _memory()[name] = value
    return value
