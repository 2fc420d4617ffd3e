"""detach: let go of a job. It goes on, and its outcome is kept; its rows are not."""

from __future__ import annotations

from pg_background import db, identity, link, registry, session
from pg_background.errors import Refusal


def detach(pid: int, cookie: int) -> None:
    """Stop tracking a job. Raises 42704, 55000, 42501."""
    job = session.jobs().get(cookie)
    if job is None or job.pid != pid or job.role != identity.role():
        registry.find(pid, cookie)
    session.jobs().pop(cookie, None)
    session.let_go(cookie)
    tell(pid, cookie)


def forget(job: session.TrackedJob) -> None:
    """Let go of a job whose handle nobody else has."""
    if session.jobs().pop(job.cookie, None) is not None:
        tell(job.pid, job.cookie)


def tell(pid: int, cookie: int) -> None:
    """Have the registry know, without waiting until it does; in the caller's transaction where no link is to be had."""
    who = identity.current()
    try:
        db.privileged(lambda: link.note(who, f"call pgbackground.let_go({cookie})"))
    except Refusal as refusal:
        if refusal.sqlstate not in link.NONE_IS_LEFT:
            raise
        registry.request_here("detach", pid, cookie, refusal)
