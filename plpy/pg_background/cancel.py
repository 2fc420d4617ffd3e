"""cancel: ask a job to stop, and end its worker when it does not."""

from __future__ import annotations

from pg_background import db, identity, link, lock, registry, wait
from pg_background.errors import Refusal

LONGEST_GRACE_MS = 3600000
# How long a job is given to heed a cancel that is not committed yet, so that its worker knows of it.
ANNOUNCED_MS = 1000
SLICE_MS = 100


def cancel(pid: int, cookie: int, grace_ms: int | None = 0) -> None:
    """Ask the job to stop; with a grace, wait so many ms (at most 1 h) and then end its worker.

    A job that has ended is left alone. Raises 42704, 55000, 42501.
    """
    grace_ms = min(max(grace_ms or 0, 0), LONGEST_GRACE_MS)
    try:
        _over_a_link(pid, cookie, grace_ms)
    except Refusal as refusal:
        if refusal.sqlstate not in link.NONE_IS_LEFT:
            raise
        _from_here(pid, cookie, grace_ms, refusal)


def _over_a_link(pid: int, cookie: int, grace_ms: int) -> None:
    if not registry.may_be_live(pid, cookie):
        return
    state, key = registry.request("cancel", pid, cookie)
    if state != "running":
        return
    _signal(cookie, hard=False)
    if grace_ms and not wait.released(cookie, key, grace_ms):
        _signal(cookie, hard=True)


def _signal(cookie: int, *, hard: bool) -> None:
    """The second step: the request is committed, and a worker that has seen none is out of reach."""
    who = identity.current()
    text = f"select pgbackground.signal({cookie}, {db.literal(hard)})::pg_catalog.text"
    db.privileged(lambda: link.ask(who, text, reserved=True))


def _from_here(pid: int, cookie: int, grace_ms: int, refusal: Refusal) -> None:
    """Without a connection: announce the cancel, signal, and leave the request in the caller's own transaction.

    What of that is kept when he rolls back: a running job has had its signal; one that is queued stays there.
    """
    if not _of_job("announce", cookie):
        raise refusal
    try:
        state, key = registry.request_here("cancel", pid, cookie, refusal)
        if state == "running" and _signal_from_here(cookie, hard=False):
            patience_ms = grace_ms or ANNOUNCED_MS
            if not _ends(cookie, key, patience_ms) and grace_ms:
                _signal_from_here(cookie, hard=True)
                _ends(cookie, key, ANNOUNCED_MS)
    finally:
        _of_job("withdraw", cookie)


def _of_job(function: str, cookie: int) -> bool:
    """One of the internal functions that take a cookie and return a bool."""
    sql = f"select pgbackground.{function}($1)"
    done: bool = db.privileged(lambda: db.value(sql, ("int8",), (cookie,)))
    return done


def _signal_from_here(cookie: int, *, hard: bool) -> bool:
    sql = "select pgbackground.signal_announced($1, $2)"
    sent: bool = db.privileged(lambda: db.value(sql, ("int8", "bool"), (cookie, hard)))
    return sent


def _ends(cookie: int, key: int, patience_ms: int) -> bool:
    """Does the job's worker let go of it within so many ms, whoever else keeps its lock?"""
    deadline = wait.Deadline(patience_ms)
    while not deadline.passed():
        if lock.wait(key, deadline.slice_ms(SLICE_MS)) or not _of_job("is_at_work", cookie):
            return True
    return False
