"""A job's advisory lock, which its worker holds as long as the job lives: waiting for it is waiting for the job."""

from __future__ import annotations

from pg_background import db

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def wait(key: int, patience_ms: int) -> bool:
    """Wait until a job's lock is free, or for so many ms; 0 only tries. True: it is free."""
    free: bool = db.value(
        "select pgbackground.await_lock($1, $2)", ("int8", "int4"), (key, patience_ms)
    )
    return free


def waits_for_me(pids: Sequence[int]) -> bool:
    """Does one of these processes wait for this session, directly or through others?"""
    found: bool = db.value("select pgbackground.waits_for_me($1)", ("int4[]",), (list(pids),))
    return found


def timeout_ms(name: str) -> int:
    """The caller's own lock_timeout or deadlock_timeout in ms; 0 means none."""
    milliseconds: int = db.value(
        "select s.setting::pg_catalog.int4 from pg_catalog.pg_settings s where s.name operator(pg_catalog.=) $1",
        ("text",),
        (name,),
    )
    return milliseconds
