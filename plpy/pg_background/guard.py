"""The guard: a session that keeps a job's time-out, whatever the job does to its own. Inside the door."""

from __future__ import annotations

from pg_background import db, link
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pg_background.identity import Identity


def over_links(
    who: Identity, timeout_ms: int, action: Callable[[link.Link, link.Link | None], None]
) -> None:
    """Do something over a link, with a second one at hand for the guard where there is a time-out.

    The second one comes first: a job that has begun without its guard could only be given up.
    """
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


def post(watcher: link.Link, cookie: int, lock_key: int, timeout_ms: int) -> None:
    """Have a link watch a job that holds its lock already. Raises 08006."""
    text = db.guard_text(
        cookie, lock_key, timeout_ms, link.seal("expire", cookie), link.seal("terminate", cookie)
    )
    if not db.send(watcher.name, text):
        raise Refusal("the connection that keeps the job's time-out was lost", "08006")
    watcher.job = lock_key
