"""The calls of dblink that links are made of. Inside the door."""

from __future__ import annotations

import os

from pg_background import db
from pg_background.errors import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# How long a poll lasts before a cancel is looked for, and how long a worker may take until it is looked at.
SLICE_MS = 20
LOOK_MS = 1000
# A command longer than this might not fit between here and a worker that does not read.
LONG = 50000

# The descriptors of the links' sockets, where they are known: to be woken up by an answer.
_sockets: dict[str, int] = {}


# All there is of an answer, and that nothing more comes.
_ANSWER = (
    "select t.answer from pgbackground.dblink_get_result($1) as t(answer pg_catalog.text)"
    " union all select t.answer from pgbackground.dblink_get_result($1) as t(answer pg_catalog.text)"
)
FILE_TYPE, SOCKET = 0o170000, 0o140000


def connect(link: str, conninfo: str) -> None:
    """Open a link by a name."""
    # The lowest free descriptor is the next one to be given away; whether a socket got it, is looked at.
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    db.rows("select pgbackground.dblink_connect_u($1, $2)", ("text", "text"), (link, conninfo))
    if _is_socket(next_one):
        _sockets[link] = next_one


def _is_socket(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_mode & FILE_TYPE == SOCKET
    except OSError:
        return False


def disconnect(link: str) -> None:
    """Close a link; what it was sent goes on."""
    _sockets.pop(link, None)
    db.rows("select pgbackground.dblink_disconnect($1)", ("text",), (link,))


def ask(link: str, sql: str, pid: int = 0) -> list[str | None]:
    """Run a query of one text column over a link and wait for its rows. Raises Gone when the link is.

    So does it when the worker was canceled late, for the job that it had before.

    A cancel ends the wait, and the worker with it, whose pid this is: nobody would hear its answer. So it does when
    the worker has not even begun with it after a second, because its process is stopped.
    """
    if len(sql) > LONG:
        ask(link, "select 1::pg_catalog.text", pid)
    if not send(link, sql):
        raise Gone
    try:
        _until_answered(link, pid)
    except BaseException:
        _end(pid)
        raise
    try:
        found = db.rows(_ANSWER, ("text",), (link,))
    except db.ServerError as error:
        # The link is ready for another command when nothing more comes.
        left = db.rows(_ANSWER, ("text",), (link,))
        if db.sqlstate_of(error) == db.CANCELED and not left and _was_canceled(pid):
            raise Gone from None
        raise
    return [each["answer"] for each in found]


def _until_answered(link: str, pid: int) -> None:
    waited_ms = 0
    while True:
        if not _wait(link):
            # It costs less to look than to wait in vain.
            waited_ms += SLICE_MS
            if waited_ms % LOOK_MS == 0 and pid and _has_not_begun(pid):
                raise Gone
            db.sleep(0)
        if not is_busy(link):
            return


def _wait(link: str) -> bool:
    """Wait for an answer, for a slice of time. True: there is something to be read."""
    descriptor = _sockets.get(link)
    if descriptor is None:
        db.sleep(1)
        return True
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(SLICE_MS))


def _has_not_begun(pid: int) -> bool:
    """Does the worker still idle, although it has been sent a command?"""
    db.rows("select pg_catalog.pg_stat_clear_snapshot()")
    state: str = db.value(
        "select a.state from pg_catalog.pg_stat_get_activity($1) a", ("int4",), (pid,)
    )
    return state == "idle"


def _was_canceled(pid: int) -> bool:
    """Has the worker's last job been canceled? Then a signal that came late may have hit the command that followed."""
    found: bool = db.value(
        "select exists (select from pgbackground.job j join pgbackground.request r"
        " on r.cookie = j.cookie and r.kind <> 'detach' where j.pid = $1)",
        ("int4",),
        (pid,),
    )
    return found


def _end(pid: int) -> None:
    if pid:
        db.rows("select pg_catalog.pg_terminate_backend($1)", ("int4",), (pid,))


def send(link: str, sql: str) -> bool:
    """Send a command over a link and do not wait. False: the link is gone."""
    sent: int = db.value(
        "select pgbackground.dblink_send_query($1, $2)", ("text", "text"), (link, sql)
    )
    return sent == 1


def is_busy(link: str) -> bool:
    """Is the command that was sent still under way?"""
    busy: int = db.value("select pgbackground.dblink_is_busy($1)", ("text",), (link,))
    return busy == 1


def collect(link: str) -> str | None:
    """Wait for the one-column answer of the query that was sent, and make the link ready for another."""
    answer: str | None = db.value(
        "select (select t.answer from pgbackground.dblink_get_result($1) as t(answer pg_catalog.text)) as answer,"
        " (select t.answer from pgbackground.dblink_get_result($1) as t(answer pg_catalog.text)) as nothing",
        ("text",),
        (link,),
    )
    return answer


def collect_rows(link: str, columns: int) -> list[list[str | None]]:
    """The next result of the command that was sent, with so many columns; [] after the last."""
    names = [f"c{number}" for number in range(columns)]
    definition = ", ".join(f"{name} pg_catalog.text" for name in names)
    found: Any = db.rows(
        f"select * from pgbackground.dblink_get_result($1) as t({definition})", ("text",), (link,)
    )
    return [[each[name] for name in names] for each in found]
