"""The queue: starting jobs that had to wait for a place. Inside the door.

There is no daemon. A worker that ends starts the next job, in its own session where it can; a launch that
was queued, a wait for a queued job and the doctor look, too, so that a lost hand-over heals.
"""

from __future__ import annotations

from pg_background import db, guard, link
from pg_background.errors import Refusal
from pg_background.identity import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_AT_ONCE = 64
# So often in a row a job may turn out to be somebody else's already, before this session leaves the queue to those.
MOST_MISSED = 4
NO_SUCH_RIGHT = "42501"
# How the server's own refusals begin while it starts or stops.
SERVER_IS = "the database system is"


def start_waiting(*, keep_links: bool = True) -> list[tuple[dict[str, Any], Refusal]]:
    """Start queued jobs as long as there is room. Returns those that could not be, each with the reason.

    keep_links: the session is a launcher's and will use its links again; a worker's would only add up.
    A transaction with an old snapshot has one of its workers do it, which sees the queue as it is.
    """
    if keep_links and db.snapshot_is_old():
        link.own_command(db.START_QUEUED)
        return []
    refused: list[tuple[dict[str, Any], Refusal]] = []
    crowded: list[int] = []
    missed = 0
    for _ in range(MOST_AT_ONCE):
        job = db.next_queued(crowded)
        if job is None or missed == MOST_MISSED:
            break
        try:
            missed = 0 if _start(job, keep_links) else missed + 1
        except Refusal as refusal:
            refused.append((job, refusal))
            if refusal.sqlstate == "53300":
                crowded.append(job["login"])
                continue
            if _is_passing(refusal):
                break
            _refuse(job, refusal, keep_links)
    return refused


def pids_in_the_way(cookie: int) -> list[int]:
    """The processes of the running jobs whose places a queued job waits for, as they are at this moment."""
    sealed = link.seal("way", cookie)
    if not db.snapshot_is_old():
        return db.pids_in_the_way(cookie, sealed)
    answer = link.own_command(db.pids_in_the_way_text(cookie, sealed))
    return [int(pid) for pid in answer if pid is not None]


def _is_passing(refusal: Refusal) -> bool:
    """Does it say nothing about the job (connections are lost, the server is about to stop)?"""
    return refusal.sqlstate == "08006" or SERVER_IS in refusal.fields.get("detail", "")


def _start(job: dict[str, Any], keep_links: bool) -> bool:
    """Open a worker for a queued job. False: somebody else was faster, or the place is taken again."""
    login, role = job["login_name"], job["role_name"]
    if login is None or role is None:
        raise Refusal("the job's role does not exist any longer", "42704")
    who = Identity(login, role, own_login=keep_links and login == db.session_user())
    taken: list[bool] = []

    def take(over: link.Link, watcher: link.Link | None) -> None:
        taken[:] = [_take(over, who, job["cookie"])]
        if not taken[0]:
            return
        if watcher is not None:
            guard.post(watcher, job["cookie"], job["lock_key"], job["timeout_ms"])
        if job["mode"] == "inline":
            over.limit_statement(job["statement_timeout"])
        procedure = "_run_top_level" if job["mode"] == "top-level" else "_run"
        if not db.send(over.name, db.run_text(procedure, job["sql"], job["cookie"], None, None)):
            raise link.Gone
        over.job = job["lock_key"]

    try:
        guard.over_links(who, job["timeout_ms"], take)
    except db.ServerError as error:
        if db.sqlstate_of(error) != NO_SUCH_RIGHT:
            raise
        raise Refusal(db.server_message(error), NO_SUCH_RIGHT) from None
    return taken[0]


def _take(over: link.Link, who: Identity, cookie: int) -> bool:
    """Make the link's other end the job's worker. Raises 42501 where its login has lost the job's role."""
    try:
        over.become(who)
        text = db.call_text("_take_queued", cookie, link.seal("take", cookie, over.pid))
        return db.ask(over.name, text + "::pg_catalog.text") == ["true"]
    except db.ServerError as error:
        if link.is_connection_loss(error):
            raise link.Gone from None
        raise


def _refuse(job: dict[str, Any], refusal: Refusal, keep_links: bool) -> None:
    """The job can never start: that is its outcome."""
    fields = refusal.fields
    text = db.call_text(
        "_refuse_queued",
        job["cookie"],
        refusal.sqlstate,
        str(refusal),
        fields.get("detail"),
        fields.get("hint"),
        link.seal("refuse", job["cookie"]),
    )
    link.command(db.session_user(), keep_links, text + "::pg_catalog.text")
