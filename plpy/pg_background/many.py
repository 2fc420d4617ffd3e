"""Verbs over many jobs: drain, wait_any, cancel_all, cancel_by_label, detach_all, purge."""

from __future__ import annotations

from pg_background import cancel, db, detach, lock, outcome, queue, registry, session, wait
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

# wait_any looks at every job once a slice, and at most this late at one that has ended.
SLICES_MS = (1, 2, 5, 10, 20)
LOOK_AROUND_TURNS = 10


def drain(
    handles: Sequence[dict[str, Any] | None] | None, timeout_ms: int | None
) -> Iterator[tuple[Any, ...]]:
    """One outcome for each handle, in their order, within one deadline; the ended jobs are detached.

    A null handle is passed over; one that nothing is known of gives nulls.
    """
    deadline = wait.Deadline(timeout_ms)
    for handle in handles or ():
        if handle is None:
            continue
        pid, cookie = _parts(handle)
        row = registry.known(pid, cookie)
        if row is not None and row["live"]:
            place = 0 if registry.may_go_back(row) else pid
            ended = wait.until_ended(place, cookie, row["lock_key"] or 0, deadline)
            row = registry.look(cookie)
        else:
            ended = row is not None
        if row is None:
            yield outcome.nothing_known(pid, cookie)
            continue
        yield outcome.columns(row)
        if ended:
            detach.detach(row["pid"], row["cookie"])


def wait_any(
    handles: Sequence[dict[str, Any] | None] | None, timeout_ms: int | None
) -> tuple[int, int] | None:
    """The handle of the first job that has ended, None when the time is over or nothing is to be waited for.

    Handles that name no job are passed over; when all of them are such, the first one's error is raised
    (42704, 55000, 42501). Raises 40P01 when every job waits for this session.
    """
    waiting = _known(handles or ())
    deadline = wait.Deadline(timeout_ms)
    blocked = [wait.Blocked() for _ in waiting]
    turn = 0
    while waiting:
        for pid, cookie, place, key in waiting:
            if key is None or wait.has_ended(place, cookie, key):
                return pid, cookie
        if deadline.passed():
            # Somebody else may have their locks.
            return _look_around(waiting, blocked)
        _wait_a_little(waiting[turn % len(waiting)], deadline.slice_ms(_slice(turn)))
        turn += 1
        if turn % LOOK_AROUND_TURNS == 0:
            ended = _look_around(waiting, blocked)
            if ended is not None:
                return ended
    return None


def _known(handles: Sequence[dict[str, Any] | None]) -> list[tuple[int, int, int, int | None]]:
    """The handles that name a job, and how to wait for each. Raises when none of them does."""
    found, refusals = [], []
    for handle in handles:
        if handle is None:
            continue
        pid, cookie = _parts(handle)
        try:
            found.append((pid, cookie, *registry.lock_key(pid, cookie)))
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals and not found:
        raise refusals[0]
    return found


def _wait_a_little(job: tuple[Any, ...], milliseconds: int) -> None:
    """Wait for one of the jobs: its end is noticed at once, that of the others after this."""
    _, _, place, key = job
    if place == 0:
        db.privileged(queue.start_waiting)
        db.sleep(milliseconds)
    else:
        lock.wait(key, milliseconds)


def _slice(turn: int) -> int:
    return SLICES_MS[min(turn, len(SLICES_MS) - 1)]


def _look_around(
    waiting: Sequence[tuple[Any, ...]], blocked: Sequence[wait.Blocked]
) -> tuple[int, int] | None:
    """The job that has ended although somebody keeps its lock, if there is one.

    A deadlock only when none of the jobs can end: each of them waits for this session. Raises 40P01 then.
    """
    found = None
    free = False
    for (pid, cookie, *_), each in zip(waiting, blocked):
        try:
            row = wait.look_around(cookie)
            if row is None:
                return pid, cookie
            free = free or row["state"] == "queued" or not each.by_me(row)
        except Refusal as refusal:
            found = refusal
    if found is not None and not free:
        raise found
    return None


def cancel_all() -> int:
    """Cancel every running or queued job of this session. Returns how many."""
    return _cancel_where(_every, 0)


def cancel_by_label(pattern: str | None, grace_ms: int | None) -> int:
    """Cancel this session's live jobs whose label is LIKE the pattern. Returns how many."""
    if pattern is None:
        return 0
    return _cancel_where(lambda row: _is_like(row["label"], pattern), grace_ms)


def _is_like(text: str | None, pattern: str) -> bool:
    """SQL's LIKE."""
    found: bool | None = db.value(
        "select $1 operator(pg_catalog.~~) $2", ("text", "text"), (text, pattern)
    )
    return bool(found)


def _every(_row: dict[str, Any]) -> bool:
    return True


def _cancel_where(chosen: Any, grace_ms: int | None) -> int:
    canceled = 0
    for row in _own_rows():
        if row["live"] and chosen(row):
            cancel.cancel(row["pid"], row["cookie"], grace_ms)
            canceled += 1
    return canceled


def detach_all() -> int:
    """Detach every job of this session. Returns how many."""
    return _detach_where(_every)


def purge() -> int:
    """Detach this session's ended jobs. Returns how many."""
    return _detach_where(lambda row: not row["live"])


def _detach_where(chosen: Any) -> int:
    detached = 0
    for row in _own_rows():
        if chosen(row):
            detach.detach(row["pid"], row["cookie"])
            detached += 1
    return detached


def _own_rows() -> Iterator[dict[str, Any]]:
    """The registry's rows of this session's jobs that the caller has the rights of."""
    for cookie in list(session.jobs()):
        row = registry.own(cookie)
        if row is not None:
            yield row


def _parts(handle: dict[str, Any] | None) -> tuple[Any, Any]:
    return (handle["pid"], handle["cookie"]) if handle else (None, None)
