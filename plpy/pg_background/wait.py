"""wait: until a job has ended, in any way."""

from __future__ import annotations

from time import monotonic

from pg_background import db, lock, overdue, queue, registry
from pg_background.errors import Refusal, unknown_handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Looking around between two slices of waiting: soon at first, because a deadlock with the caller
# is to be found before the server's own detector picks the job as its victim.
SLICES_MS = (50, 150, 300, 500)
AWAIT_SLICE_MS = 100
# While the job waits for this session: without a lock, or the server would see a deadlock where there may be none.
BLOCKED_SLICE_MS = 20
# Waiting for a queued job: it starts by itself, this is for the case that it does not.
QUEUE_SLICES_MS = (2, 5, 10, 20, 50)
STARTING_TURNS = 10
BLOCKED_TURNS = 20


class Deadline:
    """Time left of a timeout in ms; 0 or less, or None, waits for ever."""

    __slots__ = ("_end",)

    def __init__(self, timeout_ms: int | None) -> None:
        self._end = monotonic() + timeout_ms / 1000 if timeout_ms and timeout_ms > 0 else None

    def slice_ms(self, most: int) -> int:
        """The next slice of waiting, at least 1 ms."""
        if self._end is None:
            return most
        return max(1, min(most, round((self._end - monotonic()) * 1000)))

    def passed(self) -> bool:
        """Is the time over?"""
        return self._end is not None and monotonic() >= self._end


def wait(pid: int, cookie: int, timeout_ms: int | None = 0) -> bool:
    """Wait for the job's end. True: it has ended; False: the time is over.

    Raises 42704, 55000, 42501 for the handle, 40P01 when the job waits for this session for longer than
    deadlock_timeout, 55P03 when the caller's lock_timeout passes.
    """
    place, key = registry.lock_key(pid, cookie)
    return key is None or until_ended(place, cookie, key, Deadline(timeout_ms))


def until_ended(pid: int, cookie: int, key: int, deadline: Deadline) -> bool:
    """Wait for a job's end until the deadline; one with pid 0 may be in the queue, also once more."""
    if pid:
        return _until_free(key, cookie, deadline)
    while True:
        row = _started(cookie, deadline)
        if row is None:
            return False
        if not row["live"]:
            return True
        if not _until_free(row["lock_key"], cookie, deadline):
            return False


def released(cookie: int, key: int, patience_ms: int) -> bool:
    """Does a running job end within so many ms, whoever else keeps its lock?"""
    deadline = Deadline(patience_ms)
    while not deadline.passed():
        if lock.wait(key, deadline.slice_ms(AWAIT_SLICE_MS)) or has_ended(0, cookie, 0):
            return True
    return False


def has_ended(pid: int, cookie: int, key: int) -> bool:
    """Has the job ended, without waiting?"""
    if pid == 0:
        row = registry.look(cookie)
        return row is None or not row["live"]
    return lock.wait(key, 0)


def _started(cookie: int, deadline: Deadline) -> dict[str, Any] | None:
    """Wait until a job has left the queue, and start what can start: its row. None: the time is over. Raises 40P01."""
    turn = 0
    while True:
        row = registry.look(cookie)
        if row is None:
            return {"live": False}
        if row["state"] != "queued":
            return row
        if turn == 0 and row["transaction"] is not None and registry.is_of_this_transaction(cookie):
            raise _deadlock("The job begins when this transaction, which has enqueued it, commits.")
        if turn % STARTING_TURNS == 0:
            # At least once, however short the time is: who only ever looks must not wait for a queue that stands.
            db.privileged(queue.start_waiting)
        if deadline.passed():
            return None
        if turn % BLOCKED_TURNS == BLOCKED_TURNS - 1:
            _refuse_full_of_blocked(cookie)
        db.sleep(deadline.slice_ms(QUEUE_SLICES_MS[min(turn, len(QUEUE_SLICES_MS) - 1)]))
        turn += 1


def _refuse_full_of_blocked(cookie: int) -> None:
    """No place will ever be free when every job that takes one waits for this session. Raises 40P01."""
    pids = db.privileged(lambda: queue.pids_in_the_way(cookie))
    if pids and all(lock.waits_for_me([pid]) for pid in pids):
        raise _deadlock(
            "Every job that takes a place waits for this session, so the queued one cannot start."
        )


def _until_free(key: int, cookie: int, deadline: Deadline) -> bool:
    """Wait for a job's lock, looking around between slices. Raises 40P01, 55P03."""
    if lock.wait(key, deadline.slice_ms(SLICES_MS[0])):
        return True
    impatience = Deadline(lock.timeout_ms("lock_timeout"))
    blocked = Blocked()
    turn = 0
    while not deadline.passed():
        row = look_around(cookie)
        if row is None:
            return True
        if impatience.passed():
            raise Refusal("canceling wait due to lock timeout", "55P03")
        if blocked.by_me(row):
            db.sleep(deadline.slice_ms(BLOCKED_SLICE_MS))
            slice_ms = 0
        else:
            turn = min(turn + 1, len(SLICES_MS) - 1)
            slice_ms = impatience.slice_ms(deadline.slice_ms(SLICES_MS[turn]))
        if lock.wait(key, slice_ms):
            return True
    # Whoever only ever looks for a moment comes by, too.
    return look_around(cookie) is None


class Blocked:
    """How long a job has waited for this very session, as its waiter sees it."""

    __slots__ = ("_limit",)

    def __init__(self) -> None:
        self._limit: Deadline | None = None

    def by_me(self, row: dict[str, Any]) -> bool:
        """Does the job wait for this session? Raises 40P01 when it has for longer than deadlock_timeout."""
        pids = [pid for pid in (row["pid"], row["executor_pid"]) if pid]
        if not lock.waits_for_me(pids):
            self._limit = None
            return False
        if self._limit is None:
            self._limit = Deadline(lock.timeout_ms("deadlock_timeout"))
        elif self._limit.passed():
            raise _deadlock(
                f"The job's process {pids[-1]} needs a lock or the end of a snapshot of this session. The job goes on."
            )
        return True


def look_around(cookie: int) -> dict[str, Any] | None:
    """Between two slices: the row of the job that still lives; None when it has ended although its lock is taken.

    A job whose time-out is over is ended on the way.
    """
    row = registry.look(cookie)
    if row is None or not row["live"]:
        return None
    if row["state"] == "queued":
        _refuse_full_of_blocked(cookie)
    elif row["overdue"]:
        overdue.end_some()
    return row


def _deadlock(detail: str) -> Refusal:
    return Refusal(
        "deadlock detected: the job waits for the session that waits for it",
        "40P01",
        detail=detail,
        hint="End the transaction first, or use CALL pg_background_await(pid, cookie), "
        "which holds neither transaction nor snapshot while it waits.",
    )


def await_end(pid: int | None, cookie: int | None, timeout_ms: int | None = 0) -> None:
    """Wait as a procedure does: without a transaction or a snapshot between two slices.

    Raises 57014 when the time is over, and as `wait`; a procedure cannot be strict, so a null is 42704.
    """
    if pid is None or cookie is None:
        raise unknown_handle(pid, cookie)
    place, key = registry.lock_key(pid, cookie)
    deadline = Deadline(timeout_ms)
    while key is not None:
        db.commit()
        if place == 0 and not has_ended(place, cookie, key):
            db.privileged(queue.start_waiting)
            db.sleep(deadline.slice_ms(AWAIT_SLICE_MS))
        elif place == 0 or lock.wait(key, deadline.slice_ms(AWAIT_SLICE_MS)):
            return
        row = registry.look(cookie)
        if row is None or not row["live"]:
            return
        if deadline.passed():
            raise Refusal("canceling wait due to timeout", "57014")
        if row["state"] == "running":
            place, key = row["pid"], row["lock_key"]
            if row["begun"] is False:
                place = 0
        if row["overdue"]:
            overdue.end_some()
