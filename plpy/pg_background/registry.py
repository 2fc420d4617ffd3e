"""Finding jobs: by handle, with the right to do so, as they are at this moment.

Whose job a caller may see, the view pgbackground.visible_job says by his current_user. Where the
transaction's snapshot is old, the same question is asked over a link of the same identity.
"""

from __future__ import annotations

from pg_background import db, handover, identity, link, session
from pg_background.errors import Refusal, cookie_mismatch, not_your_job, unknown_handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What the verbs need of a row: not what only the worker does, which may be long.
_LOOK = (
    "select j.cookie, j.state, j.live, j.role, j.label, j.sql, j.mode, j.keeps_rows, j.detached, j.queue_size, j.pid,"
    " j.executor_pid, j.lock_key, j.attempt, j.begun, j.former_pids, j.transaction, j.launched_at, j.started_at,"
    " j.finished_at, j.timed_out, j.row_count, j.command_tag, j.columns, j.progress_pct, j.progress_msg, j.sqlstate,"
    " j.message, j.detail, j.hint, j.context, j.schema_name, j.table_name, j.column_name, j.constraint_name,"
    " j.elapsed_ms, j.overdue, j.unrecorded"
    " from pgbackground.visible_job j where j.cookie operator(pg_catalog.=) "
)

# A session that remembers as many jobs looks which of them are not its own any longer.
MANY_JOBS = 1000
_LET_GO = (
    "select array(select c.cookie from pg_catalog.unnest($1) c (cookie)"
    " where not exists (select from pgbackground.job j where j.cookie = c.cookie and not j.detached)"
    " or exists (select from pgbackground.request r where r.cookie = c.cookie and r.kind = 'detach'))"
)


def look(cookie: int) -> dict[str, Any] | None:
    """The registry's row of a job that the caller may see, or None. A fact at the moment of the call."""
    row = _read(cookie)
    if row is None:
        return None
    if row["unrecorded"] and lost(cookie):
        row = _read(cookie)
        if row is not None and row["state"] == "queued":
            _start_queued()
    return row


def _start_queued() -> None:
    """The lost worker's job has another attempt: somebody has to start it, or the clock that will."""
    from pg_background import queue

    db.privileged(lambda: link.attempt(queue.start_waiting))


def lost(cookie: int) -> bool:
    """The job's worker is gone, and nobody has written that down yet: do it. False where that cannot be done now."""
    text = f"select pgbackground.lost({cookie})::pg_catalog.text"
    answer = link.attempt(lambda: _ask(identity.own(), text))
    if answer is None and not identity.snapshot_is_old():
        # No link is to be had: then with this transaction, for as long as that stands.
        return bool(db.value("select pgbackground.lost($1)", ("int8",), (cookie,)))
    return bool(answer == ["true"])


def own(cookie: int) -> dict[str, Any] | None:
    """The row of a job of this session, or None, also where another session has detached it since."""
    row = look(cookie)
    if row is not None and row["detached"]:
        session.jobs().pop(cookie, None)
        return None
    return row


def track(job: session.TrackedJob) -> None:
    """Count a job among this session's. When these are many, those go that others have detached, or that are gone."""
    jobs = session.jobs()
    jobs[job.cookie] = job
    if (
        len(jobs) >= (session.remembered("many jobs") or MANY_JOBS)
        and not identity.snapshot_is_old()
    ):
        gone = db.privileged(lambda: db.value(_LET_GO, ("int8[]",), (list(jobs),)))
        for cookie in gone:
            jobs.pop(cookie, None)
        session.remember("many jobs", max(MANY_JOBS, 2 * len(jobs)))


def _read(cookie: int) -> dict[str, Any] | None:
    """The row, over a link where this transaction's snapshot is old."""
    if not identity.snapshot_is_old():
        return db.row(f"{_LOOK}$1", ("int8",), (cookie,))
    import json

    answer = _ask(
        identity.current(),
        f"select pg_catalog.row_to_json(r)::pg_catalog.text from ({_LOOK}{cookie}) r",
    )
    row: dict[str, Any] | None = json.loads(answer[0] or "null") if answer else None
    return row


def _ask(who: identity.Identity, sql: str) -> list[str | None]:
    answer: list[str | None] = db.privileged(lambda: link.ask(who, sql))
    return answer


def find(pid: int | None, cookie: int | None) -> dict[str, Any]:
    """The row of the job that a handle names. Raises 42704, 55000, 42501."""
    row = _look_for(pid, cookie)
    if row is None:
        raise _unseen(pid, cookie)
    if not _is_named(row, pid):
        raise cookie_mismatch(pid)
    return row


def _look_for(pid: int | None, cookie: int | None) -> dict[str, Any] | None:
    """The row of the job with a handle's cookie, whatever its pid."""
    return None if pid is None or cookie is None else look(cookie)


def _unseen(pid: int | None, cookie: int | None) -> Refusal:
    """Why the caller does not see the job."""
    if pid is None:
        return unknown_handle(pid, cookie)
    reason = _why_unseen(pid, -1 if cookie is None else cookie)
    return refusal(reason, pid, cookie)


def _why_unseen(pid: int, cookie: int) -> str | None:
    if identity.snapshot_is_old():
        text = f"select pgbackground.why_unseen({pid}, {cookie})"
        answer = link.attempt(lambda: _ask(identity.current(), text))
        return answer[0] if answer else None
    found: str = db.value("select pgbackground.why_unseen($1, $2)", ("int4", "int8"), (pid, cookie))
    return found


def refusal(reason: str | None, pid: int, cookie: int | None) -> Refusal:
    """An error of the registry in the words that users get."""
    if reason == "42501":
        return not_your_job(pid)
    own = session.jobs().get(cookie) if cookie is not None else None
    if own is not None and own.pid == pid:
        # The handle is right, and the job forgotten.
        return unknown_handle(pid, cookie)
    if reason == "55000" or any(
        job.pid == pid and job.cookie != cookie for job in session.jobs().values()
    ):
        return cookie_mismatch(pid)
    return unknown_handle(pid, cookie)


def _is_named(row: dict[str, Any], pid: int | None) -> bool:
    """Is this the job's pid, or one it had before it went back into the queue? 0 always is."""
    return pid in (row["pid"], 0) or pid in (row["former_pids"] or ())


def is_of_this_transaction(cookie: int) -> bool:
    """Has this transaction enqueued the job? What an old snapshot shows of the registry, and links do not."""
    found: bool = db.value(
        "select exists (select from pgbackground.visible_job j where j.cookie operator(pg_catalog.=) $1"
        " and j.live and j.transaction operator(pg_catalog.=) pg_catalog.pg_current_xact_id_if_assigned())",
        ("int8",),
        (cookie,),
    )
    return found


def may_go_back(row: dict[str, Any]) -> bool:
    """Is the job in the queue, or may it be there again, because its worker has not begun with it?"""
    return row["state"] == "queued" or row["begun"] is False


def known(pid: int | None, cookie: int | None) -> dict[str, Any] | None:
    """The row of the job that a handle names; None where nothing is known or may be known. Never raises."""
    row = _look_for(pid, cookie)
    return row if row is not None and _is_named(row, pid) else None


def refuse_others(pid: int | None, cookie: int | None) -> None:
    """Raise 42501 where the handle names a job that the caller may not see."""
    if pid is not None and cookie is not None and look(cookie) is None:
        reason = _why_unseen(pid, cookie)
        if reason == "42501":
            raise not_your_job(pid)


def lock_key(pid: int | None, cookie: int | None) -> tuple[int, int | None]:
    """How to wait for a job: pid, or 0 where it may be in the queue, and the key of its lock.

    Without a look into the registry where this session launched it. No key: the registry says that the
    job has ended, or it is queued (then pid is 0). Raises as `find`.
    """
    job = session.jobs().get(cookie) if cookie is not None else None
    own = job is not None and job.pid == pid != 0 and job.role == identity.role()
    if job is not None and own and job.lock_key:
        return job.pid, job.lock_key
    row = look(job.cookie) if job is not None and own else find(pid, cookie)
    if row is None:
        # Of this session's own jobs: it has ended, and is forgotten already.
        return pid or 0, None
    if not row["live"]:
        return row["pid"], None
    return 0 if may_go_back(row) or not pid else pid, row["lock_key"] or 0


def may_be_live(pid: int, cookie: int) -> bool:
    """Is there something to cancel, as far as the caller can see? Members of pg_signal_backend do not see all.

    Raises 42704, 55000.
    """
    row = _look_for(pid, cookie)
    if row is None:
        if _why_unseen(pid, cookie) != "42501":
            raise _unseen(pid, cookie)
        return True
    if not _is_named(row, pid):
        raise cookie_mismatch(pid)
    live: bool = row["live"]
    return live


def request(kind: str, pid: int | None, cookie: int | None) -> tuple[str, int]:
    """Ask for a job's cancel, or let go of it, as the caller; his rollback does not undo it.

    Returns the job's state before, and the key of its lock. Raises 42704, 55000, 42501.
    """
    if pid is None or cookie is None:
        raise unknown_handle(pid, cookie)
    who = identity.current()
    text = f"select pgbackground.request({pid}, {cookie}, {db.literal(kind)})::pg_catalog.text"
    try:
        answer = db.privileged(lambda: link.ask(who, text, reserved=True))
    except db.ServerError as error:
        state = db.sqlstate_of(error)
        if state in ("42704", "42501", "55000"):
            raise refusal(state, pid, cookie) from None
        raise
    state, key = handover.fields(answer)
    return state, int(key or 0)


def request_here(kind: str, pid: int, cookie: int, no_link: Refusal) -> tuple[str, int]:
    """The same where no link is to be had, in the caller's own transaction. Raises no_link where that cannot say."""
    me = identity.current().role
    sql = (
        "select r.state, r.lock_key from pgbackground.request_as("
        "pg_catalog.to_regrole(pg_catalog.quote_ident($1))::pg_catalog.oid, $2, $3, $4) r"
    )
    types, values = ("text", "int4", "int8", "text"), (me, pid, cookie, kind)
    try:
        row = db.privileged(lambda: db.row(sql, types, values)) or {}
    except db.ServerError as error:
        state = db.sqlstate_of(error)
        if state == "42704" and identity.snapshot_is_old():
            raise no_link from None
        if state in ("42704", "42501", "55000"):
            raise refusal(state, pid, cookie) from None
        raise
    if row["state"] == "queued" and db.value(
        "select pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool"
    ):
        raise no_link
    return row["state"], row["lock_key"] or 0


def messages(cookie: int) -> list[dict[str, Any]]:
    """The kept messages of a job, in order."""
    sql = (
        "select m.seq, m.severity, m.message, m.detail, m.hint from pgbackground.visible_message m"
        " where m.cookie operator(pg_catalog.=) {} order by m.seq"
    )
    if not identity.snapshot_is_old():
        return list(db.rows(sql.format("$1"), ("int8",), (cookie,)))
    import json

    text = f"select pg_catalog.row_to_json(m)::pg_catalog.text from ({sql.format(cookie)}) m"
    return [json.loads(each or "null") for each in _ask(identity.current(), text)]


def chunk(cookie: int, number: int) -> list[str] | None:
    """A chunk of a job's rows as composite literals, over a link where this transaction's snapshot is old."""
    if not identity.snapshot_is_old():
        found: list[str] | None = db.value(
            "select r.rows from pgbackground.visible_rows r"
            " where r.cookie operator(pg_catalog.=) $1 and r.chunk operator(pg_catalog.=) $2",
            ("int8", "int4"),
            (cookie, number),
        )
        return found
    text = (
        "select pg_catalog.unnest(r.rows) from pgbackground.visible_rows r"
        f" where r.cookie operator(pg_catalog.=) {cookie} and r.chunk operator(pg_catalog.=) {number}"
    )
    return [each or "" for each in _ask(identity.current(), text)]
