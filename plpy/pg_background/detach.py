"""detach: let go of a job. It goes on, and its outcome is kept; its rows are not."""

from __future__ import annotations

from pg_background import db, link, registry, session


def detach(pid: int, cookie: int) -> None:
    """Stop tracking a job. Raises 42704, 55000, 42501."""
    job = session.jobs().get(cookie)
    if job is None or job.pid != pid or job.role != db.caller_role():
        registry.find(pid, cookie)
    session.jobs().pop(cookie, None)
    session.let_go(cookie)
    tell(cookie)


def forget(job: session.TrackedJob) -> None:
    """Let go of a job whose handle nobody else has."""
    if session.jobs().pop(job.cookie, None) is not None:
        tell(job.cookie)


def tell(cookie: int) -> None:
    """Have the registry know, over a link and without waiting: a rollback here must not undo it."""
    login = db.session_user()
    db.privileged(
        lambda: link.notify(
            login,
            True,
            db.call_text("_detach", cookie, link.seal("detach", cookie)) + "::pg_catalog.text",
        )
    )
