"""detach: let go of a job. It goes on, and its outcome is kept; its rows are not."""

from __future__ import annotations

from pg_background import db, identity, link, registry, session


def detach(pid: int, cookie: int) -> None:
    """Stop tracking a job. Raises 42704, 55000, 42501."""
    job = session.jobs().get(cookie)
    if job is None or job.pid != pid or job.role != identity.role():
        registry.find(pid, cookie)
    session.jobs().pop(cookie, None)
    session.let_go(cookie)
    tell(cookie)


def forget(job: session.TrackedJob) -> None:
    """Let go of a job whose handle nobody else has."""
    if session.jobs().pop(job.cookie, None) is not None:
        tell(job.cookie)


def tell(cookie: int) -> None:
    """Have the registry know, without waiting until it does."""
    who = identity.current()
    db.privileged(lambda: link.note(who, f"call pgbackground.let_go({cookie})"))
