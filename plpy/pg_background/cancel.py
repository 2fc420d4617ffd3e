"""cancel: ask a job to stop, and end its worker when it does not."""

from __future__ import annotations

from pg_background import db, identity, link, registry, wait

LONGEST_GRACE_MS = 3600000


def cancel(pid: int, cookie: int, grace_ms: int | None = 0) -> None:
    """Ask the job to stop; with a grace, wait so many ms (at most 1 h) and then end its worker.

    A job that has ended is left alone. Raises 42704, 55000, 42501.
    """
    if not registry.may_be_live(pid, cookie):
        return
    state, key = registry.request("cancel", pid, cookie)
    if state != "running":
        return
    _signal(cookie, hard=False)
    if (
        grace_ms
        and grace_ms > 0
        and not wait.released(cookie, key, min(grace_ms, LONGEST_GRACE_MS))
    ):
        _signal(cookie, hard=True)


def _signal(cookie: int, *, hard: bool) -> None:
    """The second step: the request is committed, and a worker that has seen none is out of reach."""
    who = identity.current()
    text = f"select pgbackground.signal({cookie}, {db.literal(hard)})::pg_catalog.text"
    db.privileged(lambda: link.ask(who, text, reserved=True))
