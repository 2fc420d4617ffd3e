"""The doctor: what keeps jobs from running, and the cure.

It opens one connection after the other, as a worker would, to see whether the server lets it in, and
starts queued jobs that nobody has started although they could be, and ends those whose time-out is
over. It changes nothing else.
"""

from __future__ import annotations

from pg_background import db, identity, link, refused, settings
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

KNOWN_SETTINGS = ("max_workers", "worker_timeout", "default_queue_size", "when_full")
PREFIX = "pg_background."
# What starts the clock after a restart.
AT_LOGIN = "the next login starts it"
AT_A_TOUCH = "nothing starts it before the next launch, pg_background_tick(), scrape of metrics or this check"


def check() -> Iterator[tuple[str, bool, str, str | None]]:
    """Rows of item, ok, detail, cure. Raises nothing of its own."""
    role = identity.role()
    standby = identity.caller()["standby"]
    foundation = db.privileged(_foundation)
    if foundation:
        yield from foundation
        return
    yield "pg_background_plpy", True, "version @version@", None
    yield from db.privileged(_installation)
    if not standby:
        db.privileged(lambda: db.rows("select pgbackground.sweep()"))
    yield _python()
    yield from map(_setting, db.privileged(_product_settings))
    for each in db.privileged(lambda: _logins(role)):
        yield _login(each)
    yield _queue(role, standby)
    yield _clock(standby)


def _clock(standby: bool) -> tuple[str, bool, str, str | None]:
    """Who keeps the clock, since when, and what starts it after a restart. It is started where it is missing."""
    from pg_background import clock

    if standby:
        return "clock", True, "not kept on a standby", None
    started = db.privileged(clock.ensure)
    found = db.privileged(
        lambda: db.rows("select pid, since, due, needed, at_login from pgbackground.check_clock()")
    )[0]
    if not found["needed"]:
        return "clock", True, "not kept: nothing is due later", None
    if not started:
        return (
            "clock",
            False,
            "nobody keeps it, and it could not be started: nothing that is due later starts",
            "See the logins and the free connections above.",
        )
    kept = (
        f"kept by PID {found['pid']} since {found['since']}" if found["pid"] else "started just now"
    )
    starter = AT_LOGIN if found["at_login"] else AT_A_TOUCH
    said = f"{kept}; due next: {found['due'] or 'nothing'}; after a restart of the server {starter}"
    return "clock", True, said, None


def _installation() -> list[tuple[Any, ...]]:
    """What the catalogs and the registry tell."""
    rows = db.rows("select item, ok, detail, cure from pgbackground.check_installation()")
    return [tuple(row.values()) for row in rows]


def _product_settings() -> list[dict[str, str]]:
    """place, name, value, cure of the product's settings of roles, databases and this session."""
    return list(db.rows("select place, name, value, cure from pgbackground.check_settings()"))


def _logins(caller: str) -> list[str]:
    """The logins that may launch jobs and that this role may be told of."""
    rows = db.rows(
        "select l::pg_catalog.text as login from pgbackground.check_logins($1) l",
        ("name",),
        (caller,),
    )
    return [row["login"] for row in rows]


def _queue(role: str, standby: bool) -> tuple[str, bool, str, str | None]:
    """What waits for a place: of the caller's roles, as everything here."""
    waiting = db.privileged(lambda: _queued(role))
    if not waiting["jobs"]:
        return "queue", True, "no job waits for a place", None
    said = f"waiting for a place: {waiting['jobs']}, the oldest for {waiting['oldest']}"
    if standby or not waiting["could_start"]:
        return "queue", True, said, None
    return (
        "queue",
        False,
        f"{said}; one could start and has not been started",
        "select pg_background_wait(0, cookie, 1) for any of them starts what can start",
    )


def _queued(caller: str) -> dict[str, Any]:
    """How many jobs of the roles whose rights this one has are queued, and for how long the oldest has been."""
    found: dict[str, Any] = db.rows(
        "select pg_catalog.count(*) as jobs, pg_catalog.date_trunc('second',"
        "   pg_catalog.clock_timestamp() - pg_catalog.min(j.launched_at))::pg_catalog.text as oldest,"
        " pgbackground.next_queued() is not null as could_start"
        " from pgbackground.job j where j.live and j.state = 'queued'"
        " and pg_catalog.pg_has_role($1::pg_catalog.name, j.role, 'USAGE')",
        ("text",),
        (caller,),
    )[0]
    return found


def _are_compiled(hexversion: int) -> bool:
    """Is the code of the modules kept for this Python?"""
    found: bool = db.value(
        "select exists (select from pgbackground.module_code m where m.hexversion = $1)",
        ("int4",),
        (hexversion,),
    )
    return found


def _foundation() -> list[tuple[Any, ...]]:
    """What keeps everything else from being looked at."""
    rows = db.rows("select item, ok, detail, cure from pgbackground.check_foundation()")
    return [tuple(row.values()) for row in rows]


def _login_facts(name: str) -> str:
    """What is to be known of a refused login, as JSON."""
    facts: str = db.value("select pgbackground.login_facts($1)", ("name",), (name,))
    return facts


def _python() -> tuple[str, bool, str, str | None]:
    import sys

    compiled = db.privileged(lambda: _are_compiled(sys.hexversion))
    version = "Python " + sys.version.split()[0]
    if compiled:
        return "python", True, version, None
    return (
        "python",
        False,
        f"{version} is not the one the modules were compiled for: the first call of a session is slow",
        "select pgbackground.compile()",
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


def _login(name: str) -> tuple[str, bool, str, str | None]:
    item = f"login of {name}"
    try:
        db.privileged(lambda: link.close(link.open_link(name)))
    except Refusal as refusal:
        reason = str(refusal.fields.get("detail") or refusal)
        if refusal.sqlstate != "08001":
            return item, False, reason, refusal.fields.get("hint")
        return item, False, reason, refused.cure(reason, _facts(name))
    return item, True, "its workers can log in", None


def _facts(name: str) -> refused.Facts:
    """Everything about a login that may tell why it was refused."""
    import json

    found = json.loads(db.privileged(lambda: _login_facts(name)))
    found.update(system_user=_system_user(), schema=db.SCHEMA, passfile=("", "missing"))
    facts = refused.Facts(**found)
    facts.passfile = _passfile(facts)
    return facts


def _passfile(facts: refused.Facts) -> tuple[str, str]:
    """The password file that libpq looks into, and what it finds."""
    import os
    import stat

    named = facts.word("passfile") or os.environ.get("PGPASSFILE")
    path = named or os.path.join(os.path.expanduser("~"), ".pgpass")  # noqa: PTH111, PTH118 (pathlib takes 10 ms to import)
    try:
        if stat.S_IMODE(os.stat(path).st_mode) & (stat.S_IRWXG | stat.S_IRWXO):  # noqa: PTH116
            return path, "open"
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            text = file.read()
    except FileNotFoundError:
        return path, "missing"
    except OSError:
        return path, "unreadable"
    port = facts.word("port") or facts.port
    # By a socket in libpq's own folder it looks for localhost.
    hosts = {facts.host, "localhost" if facts.by_socket else facts.host}
    found = any(refused.speaks(text, (host, port, facts.database, facts.login)) for host in hosts)
    return path, "speaks" if found else "silent"


def _system_user() -> str:
    """Whom the operating system knows the server's processes as."""
    import os
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
