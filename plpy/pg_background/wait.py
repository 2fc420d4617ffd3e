"""wait: until a job has ended, in any way."""

from __future__ import annotations

from time import monotonic

from pg_background import db, guard, queue, registry
from pg_background.errors import Refusal, unknown_handle

# Looking around between two slices of waiting: soon at first, because a deadlock with the caller
# is to be found before the server's own detector picks the job as its victim.
SLICES_MS = (50, 150, 300, 500)
AWAIT_SLICE_MS = 100
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

    Raises 42704, 55000, 42501 for the handle, 40P01 when the job waits for this session, 55P03 when
    the caller's lock_timeout passes.
    """
    place, key = registry.lock_key(pid, cookie)
    return key is None or until_ended(place, cookie, key, Deadline(timeout_ms))


def until_ended(pid: int, cookie: int, key: int, deadline: Deadline) -> bool:
    """Wait for a job's end until the deadline; one with pid 0 may be in the queue, also once more."""
    if pid:
        return _until_free(key, cookie, deadline)
    while _until_started(cookie, deadline) and _until_free(key, cookie, deadline):
        row = registry.look(cookie)
        if row is None or row["state"] != "queued":
            return True
    return False


def has_ended(pid: int, cookie: int, key: int) -> bool:
    """Has the job ended, without waiting?"""
    if pid == 0:
        row = registry.look(cookie)
        return row is None or row["state"] in registry.ENDED
    return db.await_lock(key, 0)


def _until_started(cookie: int, deadline: Deadline) -> bool:
    """Wait until a job has left the queue, and start what can be started. Raises 40P01."""
    turn = 0
    while True:
        row = registry.look(cookie)
        if row is None or row["state"] != "queued":
            return True
        if turn % STARTING_TURNS == 0:
            # At least once, however short the time is: who only ever looks must not wait for a queue that stands.
            db.privileged(queue.start_waiting)
        if deadline.passed():
            return False
        if turn % BLOCKED_TURNS == BLOCKED_TURNS - 1:
            _refuse_full_of_blocked(cookie)
        db.sleep(deadline.slice_ms(QUEUE_SLICES_MS[min(turn, len(QUEUE_SLICES_MS) - 1)]))
        turn += 1


def _refuse_full_of_blocked(cookie: int) -> None:
    """No place will ever be free when every job that takes one waits for this session. Raises 40P01."""
    pids = db.privileged(lambda: queue.pids_in_the_way(cookie))
    if pids and all(db.waits_for_me([pid]) for pid in pids):
        raise _deadlock(
            "Every job that takes a place waits for this session, so the queued one cannot start."
        )


def _until_free(key: int, cookie: int, deadline: Deadline) -> bool:
    """Wait for a job's lock, looking around between slices. Raises 40P01, 55P03."""
    if db.await_lock(key, deadline.slice_ms(SLICES_MS[0])):
        return True
    impatience = Deadline(db.lock_timeout_ms())
    turn = 0
    while not deadline.passed():
        if look_around(cookie):
            return True
        if impatience.passed():
            raise Refusal("canceling wait due to lock timeout", "55P03")
        turn = min(turn + 1, len(SLICES_MS) - 1)
        if db.await_lock(key, impatience.slice_ms(deadline.slice_ms(SLICES_MS[turn]))):
            return True
    return False


def look_around(cookie: int) -> bool:
    """Between two slices: has the job ended although its lock is taken, or is its time-out over?

    Raises 40P01 when it waits for this session.
    """
    row = registry.look(cookie)
    if row is None or row["state"] in registry.ENDED:
        return True
    if row["state"] == "queued":
        _refuse_full_of_blocked(cookie)
        return False
    guard.keep_time_out(row)
    pids = [pid for pid in (row["pid"], row["executor_pid"]) if pid]
    if db.waits_for_me(pids):
        raise _deadlock(
            f"The job's process {pids[-1]} needs a lock or the end of a snapshot of this session."
        )
    return False


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
        elif db.await_lock(key, deadline.slice_ms(AWAIT_SLICE_MS)):
            return
        if deadline.passed():
            raise Refusal("canceling wait due to timeout", "57014")
        row = registry.look(cookie)
        if row is None or row["state"] in registry.ENDED:
            return
        guard.keep_time_out(row)
