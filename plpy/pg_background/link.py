"""Links: this session's connections to its workers. Everything here runs inside the door."""

from __future__ import annotations

import os
from time import sleep as nap

from pg_background import db, session
from pg_background.errors import Refusal, bad_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pg_background.identity import Identity

# A worker is silent, because its launcher may have left; it ends itself when nothing comes for a
# minute, and waits for no one with its socket.
WORKER_OPTIONS = (
    "-c client_min_messages=error"
    " -c client_connection_check_interval=0"
    " -c idle_session_timeout=60000"
    " -c idle_in_transaction_session_timeout=0"
    " -c statement_timeout=0"
    " -c lock_timeout=0"
    " -c default_transaction_isolation=read\\ committed"
    " -c default_transaction_read_only=off"
    " -c role=none"
)
# The executor of a top-level job talks, because its messages are kept, and ends with its worker.
EXECUTOR_OPTIONS = (
    "-c client_min_messages=notice"
    " -c client_connection_check_interval=1000"
    " -c idle_session_timeout=0"
    " -c statement_timeout=0"
    " -c role=none"
)
FOREIGN_SERVER = "pg_background_loopback"
# What a link carries instead of a job's lock key when it was sent a note that nobody waits for.
NOTE = 0
# What it carries while it is being used, so that nobody takes it for something else meanwhile.
HELD = -1
QUICK_LOOKS = 4
NAPS = 40
NAP_SECONDS = 0.00005
LOOKS = 500
# Connections left for people beside the server's own reserve, where pg_background_config says nothing.
FREE_CONNECTIONS = 3
# More launchers than this do not open a link at the same moment.
CROWD = 20


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

    def limit_statement(self, timeout: str | None) -> None:
        """Have the next command end after a statement_timeout: its clock starts before the job sets anything.

        The worker forgets it after the job.
        """
        if timeout not in (None, "0"):
            db.ask(self.name, db.setting_text("statement_timeout", timeout))

    def become(self, who: Identity) -> None:
        """Take the role of the job that is to run next, or none."""
        if who.switches:
            self.role = who.role
            db.ask(self.name, db.role_text(who.role))
        elif self.role is not None:
            db.ask(self.name, db.role_text("none"))
            self.role = None


class Gone(Exception):
    """The link's other end has left: take another one."""


def seal(*words: object) -> str:
    """Sign a command, so that the other end knows that this code has checked who asks."""
    secret = session.remembered("secret") or session.remember("secret", db.secret())
    text = "|".join([secret, *map(str, words), secret])
    digest: str = _sha256()(text.encode()).hexdigest()
    return digest


def _sha256() -> Any:
    """The plain implementation: hashlib takes milliseconds to import."""
    found = session.remembered("sha256")
    return found or session.remember("sha256", _import_sha256())


def _import_sha256() -> Any:
    for name in ("_sha256", "_sha2", "hashlib"):
        try:
            return __import__(name).sha256
        except (ImportError, AttributeError):
            continue
    raise Refusal("this Python has no SHA-256", "0A000")


def open_link(login: str, options: str = WORKER_OPTIONS) -> Link:
    """Connect a worker that logs in as this role. Raises 08001 or 53300."""
    spare = _leave_room(1)
    # dblink connections can be used by name from all code of the session: nobody can guess this one.
    name = "pg_background " + os.urandom(16).hex()
    try:
        db.connect(name, _conninfo(login, options))
    except db.ServerError as error:
        raise _refused(login, error) from None
    pid = int(db.ask(name, "select pg_catalog.pg_backend_pid()::pg_catalog.text")[0] or 0)
    link = Link(name, login, pid)
    try:
        if spare < CROWD:
            # Again, because others may have counted at the same moment: the last one sees them all.
            _leave_room(0)
    except BaseException:
        close(link)
        raise
    return link


def _leave_room(wanted: int) -> int:
    """Raise 53300 when, with so many connections more, fewer were left than are for people; else tell how many are."""
    found = db.connections_left()
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


def take(login: str) -> Link:
    """An idle link of this login, the one used last if there is one, or a new one."""
    own: list[Link] = [link for link in reversed(session.links()) if link.login == login]
    for link in own:
        if link.job is None or (link.job != HELD and settle(link)):
            return link
    link = open_link(login)
    session.links().append(link)
    return link


def settle(link: Link) -> bool:
    """Is the link free for another job? A link that came to grief is given up.

    When the job has ended its worker is only tidying up: looking again and again for that moment costs
    less than a new connection.
    """
    try:
        if db.is_busy(link.name) and not (_is_ending(link) and _ends_soon(link)):
            return False
        db.collect(link.name)
    except db.ServerError:
        give_up(link)
        return False
    link.job = None
    return True


def _is_ending(link: Link) -> bool:
    return link.job is None or link.job == NOTE or db.await_lock(link.job, 0)


def _ends_soon(link: Link) -> bool:
    for look in range(LOOKS):
        if not db.is_busy(link.name):
            return True
        if look >= QUICK_LOOKS + NAPS:
            if look == QUICK_LOOKS + NAPS and db.pid_is_a_worker(link.pid):
                # It has gone on to a job from the queue.
                return False
            db.sleep(1)
        elif look >= QUICK_LOOKS:
            # It may be waiting for the very processor that this session looks with.
            nap(NAP_SECONDS)
    return False


def has_room(max_workers: int) -> bool:
    """Does this session surely run fewer jobs than it may? Its links tell, while none of its jobs runs without one."""
    if session.remembered("uncounted"):
        return False
    busy = sum(link.job not in (None, NOTE, HELD) for link in session.links())
    return busy < max_workers


def lose_count() -> None:
    """A job of this session runs, or will, over no link of its own: the registry counts its jobs from now on."""
    session.remember("uncounted", True)


def give_up(link: Link) -> None:
    """Close a link and forget it."""
    if link.job not in (None, NOTE, HELD):
        lose_count()
    pool = session.links()
    if link in pool:
        pool.remove(link)
    close(link)


def close(link: Link) -> None:
    """Close the connection. Its worker finishes what it was sent."""
    try:
        db.disconnect(link.name)
    except db.ServerError:
        # Somebody has closed it already.
        return


def drop_strangers(login: str) -> None:
    """Close the links of a login that this session no longer has (SET SESSION AUTHORIZATION)."""
    for link in list(session.links()):
        if link.login != login:
            give_up(link)


def over_link(login: str, own: bool, action: Callable[[Link], None]) -> None:
    """Do something over a link; one that turns out to be dead is replaced.

    A link whose login is not the session's own user is used once and closed at once: the session's
    other code could use it by its name.
    """
    for _ in range(16):
        link = take(login) if own else open_link(login)
        link.job = HELD
        try:
            action(link)
            if link.job == HELD:
                link.job = None
        except Gone:
            give_up(link)
            continue
        except BaseException:
            give_up(link)
            raise
        if not own:
            lose_count()
            close(link)
        return
    raise Refusal("connections to the workers are lost again and again", "08006")


def command(login: str, own: bool, sql: str) -> list[str | None]:
    """Run a query of one text column over a link, autonomously, and return its rows."""
    answer: list[str | None] = []

    def run(link: Link) -> None:
        try:
            answer[:] = db.ask(link.name, sql)
        except db.ServerError as error:
            if is_connection_loss(error):
                raise Gone from None
            raise

    over_link(login, own, run)
    return answer


def own_command(sql: str) -> list[str | None]:
    """The same over a link of the session's own user."""
    return command(db.session_user(), True, sql)


def attempt(action: Callable[[], Any]) -> Any:
    """Do what may as well be left undone. None: it was, and why is nobody's business, but for a cancel."""
    try:
        return action()
    except Refusal:
        return None
    except db.ServerError as error:
        if db.sqlstate_of(error) == "57014":
            raise
        return None


def notify(login: str, own: bool, sql: str) -> None:
    """Run a one-column query over a link, autonomously, without waiting for its answer."""

    def run(link: Link) -> None:
        if not db.send(link.name, sql):
            raise Gone
        link.job = NOTE

    over_link(login, own, run)


def is_connection_loss(error: BaseException) -> bool:
    """Did the other end leave (terminated, idle for too long, crashed)?"""
    state = db.sqlstate_of(error)
    return state[:2] == "08" or state in ("57P01", "57P02", "57P03", "57P05", "25P03")


def _conninfo(login: str, options: str) -> str:
    """Libpq's connection string for this server, this database and this login."""
    facts = _facts()
    host = facts["sockets"].split(",")[0].strip() or "localhost"
    words = {
        # dblink takes a foreign server's name, too, and cuts what it is given to the length of one:
        # nobody can make a server with a name that begins like this.
        "fallback_application_name": os.urandom(24).hex(),
        "host": host,
        "port": facts["port"],
        "connect_timeout": "10",
    }
    words.update(db.user_mapping(FOREIGN_SERVER, login))
    # Whatever the DBA has set for logins, a worker is in this database and is who its launcher is.
    fixed = {
        "dbname": facts["database"],
        "user": login,
        "options": options,
        "fallback_application_name": "pg_background",
    }
    return f"{_words(words)} {facts['conninfo'] or ''} {_words(fixed)}"


def _words(words: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_quote(value)}" for name, value in words.items())


def _facts() -> dict[str, str]:
    facts: dict[str, str] | None = session.remembered("connection")
    if facts is None:
        facts = session.remember("connection", db.connection_facts())
    db.use_dblink(facts["dblink"])
    return facts


def _quote(value: str) -> str:
    """A value of a connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _refused(login: str, error: BaseException) -> Refusal:
    """The server's reason, and the cure."""
    fields = db.server_fields(error)
    reason = (fields["detail"] or db.server_message(error)).strip()
    if (
        "remaining connection slots" in reason
        or "too many clients" in reason
        or "too many connections" in reason
    ):
        return Refusal(
            "no connection is left for a background worker",
            "53300",
            detail=reason,
            hint="Wait for jobs to end, or raise max_connections; CONNECTION LIMIT of a role or database counts too.",
        )
    return Refusal(
        f'the worker could not log in as "{login}"',
        "08001",
        detail=reason,
        hint="select * from pg_background_check() names the lines that pg_hba.conf needs.",
    )
