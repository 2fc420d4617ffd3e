"""The guard: a session that keeps a job's time-out, whatever the job does to its own. Inside the door."""

from __future__ import annotations

from pg_background import db, link
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pg_background.identity import Identity

# A worker that was ended is gone in no time, unless it has much to roll back.
PATIENCE_MS = 1000
FULL_HOUSE = "53400"


def over_links(
    who: Identity, timeout_ms: int, action: Callable[[link.Link, link.Link | None], None]
) -> None:
    """Do something over a link, with a second one at hand for the guard where there is a time-out.

    The second one comes first: a job that has begun without its guard could only be given up.
    Raises 53400 after a look whether the house is full of jobs whose time-out is over.
    """
    try:
        _over_links(who, timeout_ms, action)
    except Refusal as refusal:
        if refusal.sqlstate == FULL_HOUSE:
            _look_for_overdue()
        raise


def _over_links(
    who: Identity, timeout_ms: int, action: Callable[[link.Link, link.Link | None], None]
) -> None:
    if not timeout_ms:
        link.over_link(who.login, who.own_login, lambda to: action(to, None))
        return

    def guarded(watcher: link.Link) -> None:
        try:
            watcher.become(who)
            db.ask(watcher.name, db.ALIVE)
        except db.ServerError as error:
            if link.is_connection_loss(error):
                raise link.Gone from None
            raise
        link.over_link(who.login, who.own_login, lambda to: action(to, watcher))

    link.over_link(who.login, who.own_login, guarded)


def keep_time_outs() -> None:
    """End every job that runs on although its time-out is over, because its guard was ended."""
    db.privileged(_look_for_overdue)


def keep_time_out(row: dict[str, Any]) -> None:
    """The same for one job, whose row has just been read."""
    if row["overdue"]:
        db.privileged(_have_expired)


def expire_overdue() -> None:
    """The other end of that, the body of a procedure: do it, and write down the outcome of those that were ended."""
    ended: list[int] = db.privileged(db.expire_overdue)
    db.commit()
    for key in ended:
        db.await_lock(key, PATIENCE_MS)
    if ended:
        db.privileged(db.expire_overdue)
        db.commit()


def _look_for_overdue() -> None:
    """Where this transaction cannot see whether there are any, whoever is asked to end them can."""
    if db.snapshot_is_old() or db.some_job_is_overdue():
        _have_expired()


def _have_expired() -> None:
    """A favour on the way."""
    link.attempt(lambda: link.own_command(db.KEEP_TIME_OUTS))


def post(watcher: link.Link, cookie: int, lock_key: int, timeout_ms: int) -> None:
    """Have a link watch a job that holds its lock already. Raises 08006."""
    text = db.guard_text(
        cookie, lock_key, timeout_ms, link.seal("expire", cookie), link.seal("terminate", cookie)
    )
    if not db.send(watcher.name, text):
        raise Refusal("the connection that keeps the job's time-out was lost", "08006")
    watcher.job = lock_key
