"""The doctor: what keeps jobs from running, and the cure.

It opens one connection after the other, as a worker would, to see whether the server lets it in, and
starts queued jobs that nobody has started although they could be, and ends those whose time-out is
over. It changes nothing else.
"""

from __future__ import annotations

from pg_background import db, guard, link, queue, settings
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

KNOWN_SETTINGS = ("max_workers", "worker_timeout", "default_queue_size", "when_full")
PREFIX = "pg_background."
# From here on pg_ident.conf knows roles by membership, and "all".
IDENT_KNOWS_MEMBERS = 16


def check() -> Iterator[tuple[str, bool, str, str | None]]:
    """Rows of item, ok, detail, cure. Raises nothing of its own."""
    role = db.caller_role()
    standby = db.caller()["standby"]
    if not standby:
        guard.keep_time_outs()
    yield "pg_background_plpy", True, "version @version@", None
    yield from db.privileged(db.installation_checks)
    yield _python()
    yield from map(_setting, db.privileged(db.product_settings))
    for login in db.privileged(lambda: db.logins(role)):
        yield _login(login)
    yield _queue(role, standby)


def _queue(role: str, standby: bool) -> tuple[str, bool, str, str | None]:
    """Start what could have started, and tell what waits on: of the caller's roles, as everything here."""
    reasons = [] if standby else _reasons_not_to_start(role)
    waiting = db.privileged(lambda: db.queued_jobs(role))
    said = "no job waits for a place"
    if waiting["jobs"]:
        said = f"waiting for a place: {waiting['jobs']}, the oldest for {waiting['oldest']}"
    if not reasons:
        return "queue", True, said, None
    return "queue", False, f"{said}; a queued job cannot start", "\n".join(reasons)


def _reasons_not_to_start(role: str) -> list[str]:
    """Start queued jobs; what keeps those that this role may see from it. Raises nothing but a cancel."""
    try:
        refused = db.privileged(
            lambda: [
                refusal for job, refusal in queue.start_waiting() if db.may_see(role, job["login"])
            ]
        )
    except Refusal as refusal:
        refused = [refusal]
    except db.ServerError as error:
        if db.sqlstate_of(error) == "57014":
            raise
        return [db.server_message(error)]
    return list(dict.fromkeys(map(_reason, refused)))


def _reason(refusal: Refusal) -> str:
    detail = refusal.fields.get("detail")
    return f"{refusal}: {detail}" if detail else str(refusal)


def _python() -> tuple[str, bool, str, str | None]:
    import sys

    compiled = db.privileged(lambda: db.modules_are_compiled(sys.hexversion))
    version = "Python " + sys.version.split()[0]
    if compiled:
        return "python", True, version, None
    return (
        "python",
        False,
        f"{version} is not the one the modules were compiled for: the first call of a session is slow",
        f"select {db.SCHEMA}._compile()",
    )


def _setting(found: dict[str, str]) -> tuple[str, bool, str, str | None]:
    """Does a setting mean anything? The judge is the launch's own."""
    name = found["name"][len(PREFIX) :]
    said = f"{found['place']}: {found['name']} = {found['value']}"
    if name not in KNOWN_SETTINGS:
        return "setting", False, said, f"No such setting, no effect: {found['cure']}"
    caller: dict[str, Any] = dict.fromkeys(KNOWN_SETTINGS)
    caller[name] = found["value"]
    try:
        settings.Options(caller)
    except Refusal as refusal:
        return "setting", False, said, f"{refusal.fields.get('hint')} Or: {found['cure']}"
    return "setting", True, said, None


def _login(login: str) -> tuple[str, bool, str, str | None]:
    item = f"login of {login}"
    try:
        db.privileged(lambda: link.close(link.open_link(login)))
    except Refusal as refusal:
        reason = str(refusal.fields.get("detail") or refusal)
        if refusal.sqlstate != "08001":
            return item, False, reason, refusal.fields.get("hint")
        return item, False, reason, _cure(login, reason)
    return item, True, "its workers can log in", None


def _cure(login: str, reason: str) -> str:
    """What the DBA can do about a refused login."""
    facts = db.privileged(db.connection_facts)
    if "permission denied for database" in reason:
        return f"grant connect on database {_quoted(facts['database'])} to {_quoted(login)}"
    if "not currently accepting connections" in reason:
        return f"alter database {_quoted(facts['database'])} allow_connections true"
    socket = facts["sockets"].split(",")[0].strip()
    if not socket:
        return (
            "The server has no Unix socket. In pg_hba.conf, before the other lines:\n"
            "host  all  +pgbackground_role  localhost  scram-sha-256\n" + _password_cure(login)
        )
    return "\n".join(
        (
            "In pg_hba.conf, before the other lines:",
            "local  all  +pgbackground_role  peer  map=pg_background",
            "In pg_ident.conf:",
            *ident_lines(login, db.privileged(db.server_version), _system_user()),
            "Then: select pg_reload_conf()",
            "Or, if these logins are to give a password:",
            _password_cure(login),
        )
    )


def ident_lines(login: str, major: int, system_user: str) -> list[str]:
    """Lines of pg_ident.conf: the server's own user may be the role, and everybody himself."""
    role = "+pgbackground_role" if major >= IDENT_KNOWS_MEMBERS else _quoted(login)
    return [
        f"pg_background  {_quoted(system_user)}  {role}",
        "pg_background  /^(.*)$  \\1",
    ]


def _password_cure(login: str) -> str:
    return (
        "create server if not exists pg_background_loopback foreign data wrapper dblink_fdw;\n"
        f"create user mapping for {_quoted(login)} server pg_background_loopback"
        " options (password '...')"
    )


def _system_user() -> str:
    """Whom the operating system knows the server's processes as."""
    import os
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _quoted(name: str) -> str:
    """A name as SQL and the server's configuration files write it."""
    if name.isidentifier() and name.isascii() and name.islower():
        return name
    return '"' + name.replace('"', '""') + '"'
