"""Links: this session's connections to its workers. Everything here runs inside the door."""

from __future__ import annotations

import os
from time import sleep as nap

from pg_background import db, dblink, login, session
from pg_background.errors import Gone, Refusal, bad_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pg_background.identity import Identity

# What a link carries instead of a job's lock key when it was sent a note that nobody waits for.
NOTE = 0
# And when its worker waits for the end of this transaction.
WAITING = -2
# What it carries while it is being used, so that nobody takes it for something else meanwhile.
HELD = -1
QUICK_LOOKS = 4
NAPS = 40
NAP_SECONDS = 0.00005
LOOKS = 500
# What keeps a link from being opened: no connection, a login that is refused, connections that are lost.
NONE_IS_LEFT = ("53300", "08001", "08006")
# Connections left for people beside the server's own reserve, where pg_background_config says nothing.
FREE_CONNECTIONS = 3
# More launchers than this do not open a link at the same moment.
CROWD = 20

# reserved: what the server keeps for superusers and pg_use_reserved_connections; margin: what the DBA does.
_CONNECTIONS = (
    "select pg_catalog.current_setting('max_connections')::pg_catalog.int4 - (select pg_catalog.count(*)"
    "   from pg_catalog.pg_stat_activity a where a.backend_type = 'client backend') as free,"
    " pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4"
    " + coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0) as reserved,"
    f" (select value from {db.SCHEMA}.pg_background_config where name = 'free_connections') as margin"
)


class Link:
    """One warm connection: its name in this session, whose login, its worker, and its job's lock key.

    role: what it was last told to SET ROLE to.
    """

    __slots__ = ("job", "login", "name", "pid", "role")

    def __init__(self, name: str, login: str, pid: int) -> None:
        self.name = name
        self.login = login
        self.pid = pid
        self.job: int | None = None
        self.role: str | None = None

    def ask(self, sql: str) -> list[str | None]:
        """Run a query of one text column and wait for its rows."""
        return dblink.ask(self.name, sql, self.pid)

    def set(self, setting: str, content: str) -> None:
        """Set a setting of the worker's session."""
        self.ask(
            f"select pg_catalog.set_config({db.literal(setting)}, {db.literal(content)}, false)"
        )

    def become(self, who: Identity) -> None:
        """Take the role of the job that is to run next, or none."""
        if who.switches:
            self.role = who.role
            self.set("role", who.role)
        elif self.role is not None:
            self.set("role", "none")
            self.role = None


def open_link(who: str, options: str = login.WORKER_OPTIONS, *, reserved: bool = False) -> Link:
    """Connect a worker that logs in as this role. Raises 08001, 53300, 57014.

    reserved: for a command that makes room, such as a cancel; the connections kept for people are for those.
    """
    spare = CROWD if reserved else _leave_room(1)
    # dblink connections can be used by name from all code of the session: nobody can guess this one.
    name = "pg_background " + os.urandom(16).hex()
    try:
        dblink.connect(name, login.conninfo(who, options))
    except db.ServerError as error:
        if db.sqlstate_of(error) == db.CANCELED:
            raise
        # A cancel that came while libpq was connecting is what the caller is to hear of: it is raised here.
        db.sleep(0)
        raise login.refusal(who, error) from None
    link = Link(name, who, 0)
    try:
        link.pid = int(
            dblink.ask(name, "select pg_catalog.pg_backend_pid()::pg_catalog.text")[0] or 0
        )
        if spare < CROWD:
            # Again, because others may have counted at the same moment: the last one sees them all.
            _leave_room(0)
    except BaseException:
        close(link)
        raise
    return link


def _leave_room(wanted: int) -> int:
    """Raise 53300 when, with so many connections more, fewer were left than are for people; else tell how many are."""
    # Within a transaction the list of sessions stays as it was at the first look.
    db.rows("select pg_catalog.pg_stat_clear_snapshot()")
    found = db.rows(_CONNECTIONS)[0]
    margin: str = found["margin"] or str(FREE_CONNECTIONS)
    if not margin.isdecimal():
        raise bad_value(
            f'invalid value for "free_connections" in pg_background_config: "{margin}"',
            hint="The value is the number of connections to be left for people.",
        )
    spare: int = found["free"] - wanted - found["reserved"] - int(margin)
    if spare < 0:
        raise Refusal(
            "no connection is left for a background worker",
            "53300",
            detail=f"{found['free']} connections are free: {found['reserved']} of them are reserved by the server,"
            f" {margin} by free_connections in pg_background_config.",
            hint="Wait for jobs to end, raise max_connections, or lower free_connections.",
        )
    return spare


def take(who: str, *, reserved: bool = False) -> Link:
    """An idle link of this login, the one used last if there is one, or a new one."""
    own: list[Link] = [link for link in reversed(session.links()) if link.login == who]
    for link in own:
        if link.job is None or (link.job != HELD and settle(link)):
            return link
    link = open_link(who, reserved=reserved)
    session.links().append(link)
    return link


def settle(link: Link) -> bool:
    """Is the link free for another job? A link that came to grief is given up.

    When the job has ended its worker is only tidying up: looking again and again for that moment costs
    less than a new connection.
    """
    try:
        if dblink.is_busy(link.name) and (
            link.job == WAITING or not (_is_ending(link) and _ends_soon(link))
        ):
            return False
        dblink.collect(link.name)
    except db.ServerError:
        give_up(link)
        return False
    link.job = None
    return True


def _is_ending(link: Link) -> bool:
    if link.job is None or link.job == NOTE:
        return True
    from pg_background import lock

    return lock.wait(link.job, 0)


def _ends_soon(link: Link) -> bool:
    for look in range(LOOKS):
        if not dblink.is_busy(link.name):
            return True
        if look >= QUICK_LOOKS + NAPS:
            if look == QUICK_LOOKS + NAPS and _has_a_job(link.pid):
                # It has gone on to a job from the queue.
                return False
            db.sleep(1)
        elif look >= QUICK_LOOKS:
            # It may be waiting for the very processor that this session looks with.
            nap(NAP_SECONDS)
    return False


def _has_a_job(pid: int) -> bool:
    found: bool = db.value(
        "select exists (select from pgbackground.job j where j.live and j.pid = $1)",
        ("int4",),
        (pid,),
    )
    return found


def has_room(max_workers: int) -> bool:
    """Does this session surely run fewer jobs than it may? Its links tell, while none of its jobs runs without one."""
    if session.remembered("uncounted"):
        return False
    return sum(map(_carries_job, session.links())) < max_workers


def _carries_job(link: Link) -> bool:
    """Does the link carry a job, as far as this session knows?"""
    return link.job not in (None, NOTE, HELD, WAITING)


def lose_count() -> None:
    """A job of this session runs, or will, over no link of its own: the registry counts its jobs from now on."""
    session.remember("uncounted", True)


def give_up(link: Link) -> None:
    """Close a link and forget it."""
    if _carries_job(link):
        lose_count()
    pool = session.links()
    if link in pool:
        pool.remove(link)
    close(link)


def close(link: Link) -> None:
    """Close the connection. Its worker finishes what it was sent."""
    try:
        dblink.disconnect(link.name)
    except db.ServerError:
        # Somebody has closed it already.
        return


def drop_strangers(who: str) -> None:
    """Close the links of a login that this session no longer has (SET SESSION AUTHORIZATION)."""
    for link in list(session.links()):
        if link.login != who:
            give_up(link)


def over(who: Identity, action: Callable[[Link], None], *, reserved: bool = False) -> None:
    """Do something over a link of an identity; one that turns out to be dead is replaced.

    A link whose login is not the session's own user is used once and closed at once: the session's
    other code could use it by its name.
    """
    for _ in range(16):
        link = (
            take(who.login, reserved=reserved)
            if who.own_login
            else open_link(who.login, reserved=reserved)
        )
        link.job = HELD
        try:
            link.become(who)
            action(link)
            if link.job == HELD:
                link.job = None
        except Gone:
            give_up(link)
            continue
        except db.ServerError as error:
            give_up(link)
            if is_connection_loss(error):
                continue
            raise
        except BaseException:
            give_up(link)
            raise
        if not who.own_login:
            lose_count()
            close(link)
        return
    raise Refusal("connections to the workers are lost again and again", "08006")


def ask(who: Identity, sql: str, *, reserved: bool = False) -> list[str | None]:
    """Run a query of one text column as an identity, in a transaction of its own, and return its rows."""
    answer: list[str | None] = []

    def run(link: Link) -> None:
        answer[:] = link.ask(sql)

    over(who, run, reserved=reserved)
    return answer


def note(who: Identity, sql: str) -> None:
    """Run a one-column query as an identity, in a transaction of its own, without waiting for its answer."""

    def run(link: Link) -> None:
        if not dblink.send(link.name, sql):
            raise Gone
        link.job = NOTE

    over(who, run)


def attempt(action: Callable[[], Any]) -> Any:
    """Do what may as well be left undone. None: it was, and why is nobody's business, but for a cancel."""
    try:
        return action()
    except Refusal:
        return None
    except db.ServerError as error:
        if db.sqlstate_of(error) == db.CANCELED:
            raise
        return None


def is_connection_loss(error: BaseException) -> bool:
    """Did the other end leave (terminated, idle for too long, crashed)?"""
    state = db.sqlstate_of(error)
    return state[:2] == "08" or state in ("57P01", "57P02", "57P03", "57P05", "25P03")
