"""Finding jobs: by handle, with the right to do so, as they are at this moment."""

from __future__ import annotations

from pg_background import db, link, session
from pg_background.errors import cookie_mismatch, not_your_job, unknown_handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENDED = frozenset(("stopped", "error", "canceled"))


def look(cookie: int) -> dict[str, Any] | None:
    """The registry's row of a job, or None. A fact at the moment of the call.

    A transaction with an old snapshot (REPEATABLE READ) reads it over a link.
    """
    row: dict[str, Any] | None = db.privileged(lambda: _read(cookie, db.snapshot_is_old()))
    if row is not None and row["finished_at"] is None and row["state"] in ENDED:
        # Its worker is gone, and nobody has written that down yet.
        told: dict[str, Any] = db.privileged(lambda: _with_books_closed(row))
        return told
    return row


def _with_books_closed(row: dict[str, Any]) -> dict[str, Any]:
    """The same with the time of its end, which is written down over a link; without it where that cannot be done.

    The link is closed at once: whoever only looks has no use for a worker.
    """
    return _row(link.attempt(lambda: _close_books(row["cookie"])) or [None]) or row


def _close_books(cookie: int) -> list[str | None]:
    """Have the outcome of a dead job written, and read it again."""
    spare = link.open_link(db.session_user())
    try:
        seal = link.seal("terminate", cookie)
        db.ask(spare.name, db.call_text("_close_dead", cookie, seal) + "::pg_catalog.text")
        return db.ask(spare.name, db.look_text(cookie, link.seal("look", cookie)))
    finally:
        link.close(spare)


def _read(cookie: int, over_link: bool) -> dict[str, Any] | None:
    sealed = link.seal("look", cookie)
    if not over_link:
        return db.look(cookie, sealed)
    return _row(link.own_command(db.look_text(cookie, sealed)))


def _row(answer: list[str | None]) -> dict[str, Any] | None:
    """The registry's row that came over a link as JSON."""
    import json

    row: dict[str, Any] = json.loads(answer[0] or "null") or {}
    return row if row.get("cookie") is not None else None


def find(pid: int | None, cookie: int | None, *, signal: bool = False) -> dict[str, Any]:
    """The row of the job that a handle names. Raises 42704, 55000, 42501.

    signal: members of pg_signal_backend may, too.
    """
    row = look(cookie) if pid is not None and cookie is not None else None
    if row is None:
        if pid is not None and _is_a_worker(pid, cookie):
            raise cookie_mismatch(pid)
        raise unknown_handle(pid, cookie)
    if not _is_named(row, pid):
        raise cookie_mismatch(pid)
    check_rights(row, signal=signal)
    return row


def _is_named(row: dict[str, Any], pid: int | None) -> bool:
    """Is this the job's pid, or one it had before it went back into the queue? 0 always is."""
    return pid in (row["pid"], 0) or pid in (row["former_pids"] or ())


def may_go_back(row: dict[str, Any]) -> bool:
    """Is the job in the queue, or may it be there again, because its worker has not begun with it?"""
    return row["state"] == "queued" or row["begun"] is False


def _is_a_worker(pid: int, cookie: int | None) -> bool:
    """Does this session or the registry know another job of this process?

    Not where this session has launched the very job: the handle is right then, and the job forgotten.
    """
    own = session.jobs().get(cookie) if cookie is not None else None
    if own is not None and own.pid == pid:
        return False
    if any(job.pid == pid and job.cookie != cookie for job in session.jobs().values()):
        return True
    return bool(db.privileged(lambda: db.pid_is_a_worker(pid)))


def known(pid: int | None, cookie: int | None) -> dict[str, Any] | None:
    """The row of the job that a handle names; None where nothing is known or may be known. Never raises."""
    row = look(cookie) if pid is not None and cookie is not None else None
    if row is None or not _is_named(row, pid) or not may_see(row):
        return None
    return row


def check_rights(row: dict[str, Any], *, signal: bool = False) -> None:
    """Raise 42501 unless the caller has the rights of the job's owner."""
    if not may_see(row, signal=signal):
        raise not_your_job(row["pid"])


def may_see(row: dict[str, Any], *, signal: bool = False) -> bool:
    """Has the caller the rights of the job's owner?"""
    role = db.caller_role()
    return bool(
        db.privileged(lambda: db.may_see(role, row["role"]) or (signal and db.may_signal(role)))
    )


def tell(function: str, word: str, cookie: int, *, wait: bool = True) -> None:
    """Call a sealed function about a job over a link, in a transaction of its own: a rollback here must not undo it."""
    login = db.session_user()
    send = link.command if wait else link.notify
    db.privileged(
        lambda: send(
            login,
            True,
            db.call_text(function, cookie, link.seal(word, cookie)) + "::pg_catalog.text",
        )
    )


def lock_key(pid: int | None, cookie: int | None) -> tuple[int, int | None]:
    """How to wait for a job: pid, or 0 where it may be in the queue, and the key of its lock.

    Without a look into the registry where this session launched it. No key: the registry says that the
    job has ended. Raises as `find`.
    """
    job = session.jobs().get(cookie) if cookie is not None else None
    if job is not None and job.pid == pid != 0 and job.role == db.caller_role():
        return job.pid, job.lock_key
    row = find(pid, cookie)
    if row["state"] in ENDED:
        return row["pid"], None
    return 0 if may_go_back(row) or not pid else pid, row["lock_key"]


def messages(cookie: int) -> list[dict[str, Any]]:
    """The kept messages of a job, in order; over a link where this transaction's snapshot is old."""
    found: list[dict[str, Any]] = db.privileged(lambda: _messages(cookie, db.snapshot_is_old()))
    return found


def _messages(cookie: int, over_link: bool) -> list[dict[str, Any]]:
    if not over_link:
        return db.messages(cookie)
    import json

    text = db.messages_text(cookie, link.seal("messages", cookie))
    answer = link.own_command(text)
    return [json.loads(row or "null") for row in answer]


def read_chunk(cookie: int, number: int) -> list[str] | None:
    """A chunk of a job's rows, over a link where this transaction's snapshot is old. Inside the door."""
    if not db.snapshot_is_old():
        return db.chunk_of_rows(cookie, number)
    text = db.chunk_text(cookie, number, link.seal("rows", cookie))
    return [literal or "" for literal in link.own_command(text)]
