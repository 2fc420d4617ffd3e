"""enqueue: a job that may wait, queued in the caller's own transaction."""

from __future__ import annotations

import os

from pg_background import db, dblink, identity, link, registry, session
from pg_background.cookie import random_cookie
from pg_background.errors import Gone, Refusal, bad_value
from pg_background.launch import Request, parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

RETRY_ON = ("transient", "any")
AFTER_STATES = ("stopped", "ended")
MOST_ATTEMPTS = 1000
MOST_PARENTS = 1000
LONGEST_KEY = 255
LONGEST_CHANNEL = 63


class Options:
    """What enqueue takes beside the SQL, checked. Raises 22023."""

    __slots__ = (
        "after", "after_state", "attempts", "backoff", "keeps_rows", "key", "label", "notify",
        "params", "priority", "retry_on", "run_at", "timeout_ms",
    )  # fmt: skip

    after: Any
    after_state: str
    attempts: Any
    backoff: Any
    keeps_rows: bool | None
    key: str | None
    label: str | None
    notify: str | None
    params: str | None
    priority: Any
    retry_on: str
    run_at: str | None
    timeout_ms: Any

    def __init__(self, given: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, given.get(name))
        self._check_numbers()
        self._check_words()
        self._check_texts()

    def _check_numbers(self) -> None:
        _in_range("priority", self.priority, -2147483648, 2147483647)
        _in_range("attempts", self.attempts, 1, MOST_ATTEMPTS)
        _in_range("timeout_ms", self.timeout_ms, 0, 2147483647)
        if self.backoff is None or not db.value(_IS_A_PAUSE, ("interval",), (self.backoff,)):
            raise bad_value("backoff must be an interval of 0 or more", "For example: '10 s'.")
        if self.run_at is not None and not db.value(_IS_FINITE, ("timestamptz",), (self.run_at,)):
            raise bad_value("run_at must be a finite time")
        if any(not isinstance(cookie, int) for cookie in self.after or ()):
            raise bad_value("after must be a flat array without nulls", "It takes cookies of jobs.")
        self.after = sorted(set(self.after or ()))
        if len(self.after) > MOST_PARENTS:
            raise Refusal(f"a job waits for at most {MOST_PARENTS} others", "54000")

    def _check_words(self) -> None:
        one_of("retry_on", self.retry_on, RETRY_ON)
        one_of("after_state", self.after_state, AFTER_STATES)

    def _check_texts(self) -> None:
        for name, text, most in (
            ("key", self.key, LONGEST_KEY),
            ("notify", self.notify, LONGEST_CHANNEL),
        ):
            if text is not None and not 0 < len(text.encode()) <= most:
                raise bad_value(f"{name} must have 1 to {most} bytes")


_IS_A_PAUSE = (
    "select $1 operator(pg_catalog.>=) '0'::pg_catalog.interval and pg_catalog.isfinite($1)"
)
_IS_FINITE = "select pg_catalog.isfinite($1)"


def _in_range(name: str, number: int | None, least: int, most: int) -> None:
    if number is None or not least <= number <= most:
        raise bad_value(f"{name} must be a number from {least} to {most}")


def one_of(name: str, word: str | None, words: Sequence[str]) -> None:
    """Raise 22023 for an argument that is none of the words it may be."""
    if word not in words:
        given = "null" if word is None else f'"{word}"'
        raise bad_value(
            f"invalid value for {name}: {given}", f"Available values: {', '.join(words)}."
        )


def enqueue(
    sql: str | None,
    given: Mapping[str, Any],
    schedule: int | None = None,
    due_at: str | None = None,
) -> tuple[int, int] | None:
    """Queue a job in this transaction, and return its handle; None for a null SQL.

    Raises 22023 for a bad option, 42704 and 42501 for parents, 54000 for too many of them, and as `launch`.
    """
    if sql is None:
        return None
    options = Options(given)
    request = Request(
        sql, 0, options.label, parameters(options.params), options.keeps_rows is not False, False
    )
    request.cookie = random_cookie()
    parents = [cookie for cookie in options.after if _decides(cookie, options.after_state)]
    found = db.privileged(lambda: _insert(request, options, parents, schedule, due_at))
    if found["is_new"]:
        db.privileged(lambda: tell_workers(request.who))
    return 0, found["cookie"]


def _decides(cookie: int, after_state: str) -> bool:
    """Is a parent still to be waited for, or has it failed already? Raises 42704, 42501."""
    if registry.is_of_this_transaction(cookie):
        return True
    row = registry.find(0, cookie)
    decides: bool = row["live"] or (after_state == "stopped" and row["state"] != "stopped")
    return decides


_INSERT = (
    "select e.cookie, e.is_new from pgbackground.enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
    " $15, $16, $17, $18, $19, pg_catalog.round(extract(epoch from $20) * 1000)::pg_catalog.int8, $21, $22, $23, $24,"
    " $25, $26, $27) e"
)
_TYPES = (
    "int8", "text", "text", "int4", "text", "text", "text[]", "text[]", "text", "text[]", "int4", "text", "bool",
    "int4", "text[]", "text[]", "timestamptz", "int4", "int4", "interval", "text", "int8[]", "text", "text", "text",
    "int8", "timestamptz",
)  # fmt: skip


def _insert(
    request: Request, options: Any, parents: list[int], schedule: int | None, due_at: str | None
) -> dict[str, Any]:
    plan = request.plan
    arguments = (
        request.cookie, request.who.login, request.who.role, 0, request.label, request.sql, plan.statements,
        plan.kinds, plan.tag, request.params, request.queue_size, plan.mode, request.keeps_rows,
        options.timeout_ms or request.options.worker_timeout_ms,
        list(request.settings), list(request.settings.values()), options.run_at, options.priority, options.attempts,
        options.backoff, options.retry_on, parents, options.after_state, options.key, options.notify, schedule, due_at,
    )  # fmt: skip
    found: dict[str, Any] = db.rows(_INSERT, _TYPES, arguments)[0]
    return found


def tell_workers(who: identity.Identity) -> None:
    """Have a worker wait for this transaction's end and then work on the queue.

    From the second job on another one, too, which starts the rest beside them.
    Where no link is to be had, whoever comes by starts the jobs.
    """
    told: dict[str, Any] = session.remembered("told workers") or {}
    if not told or not _holds(told["keys"]):
        keys = [int.from_bytes(os.urandom(4), "big", signed=True) for _ in range(2)]
        db.rows("select pg_catalog.pg_advisory_xact_lock_shared($1, $2)", ("int4", "int4"), keys)
        told = session.remember("told workers", {"keys": keys})
    login = _told_login(who)
    if not _waits(told.get("worker"), login):
        told["worker"] = link.attempt(lambda: _send(login, told["keys"], False))
    elif not _waits(told.get("starter"), login):
        told["starter"] = link.attempt(lambda: _send(login, told["keys"], True))


def _told_login(who: identity.Identity) -> identity.Identity:
    """The session's own login, or the job's where that may run no jobs: in a SECURITY DEFINER function."""
    own = identity.own()
    may: bool = db.value(
        "select pg_catalog.pg_has_role(session_user, 'pgbackground_role', 'USAGE')"
    )
    return own if may else identity.Identity(who.login, who.login, own_login=who.login == own.login)


def _send(who: identity.Identity, keys: list[int], starts_others: bool) -> tuple[str, link.Link]:
    """Tell a worker of this login. Its own time-outs are no business of this wait's."""
    sent: list[link.Link] = []

    def send(to: link.Link) -> None:
        to.set("statement_timeout", "0")
        to.set("lock_timeout", "0")
        arguments = ", ".join(map(db.literal, (*keys, starts_others)))
        if not dblink.send(to.name, f"call pgbackground.work_after({arguments})"):
            raise Gone
        to.job = link.WAITING
        sent[:] = [to]

    link.over(who, send)
    return who.login, sent[0]


def _waits(told: tuple[str, link.Link] | None, who: identity.Identity) -> bool:
    """Is that worker still there? One over a link that was closed at once is not looked after."""
    if told is None or told[0] != who.login:
        return False
    if not who.own_login:
        return True
    waiting = told[1]
    if waiting not in session.links() or waiting.job != link.WAITING:
        return False
    try:
        return dblink.is_busy(waiting.name)
    except db.ServerError:
        return False


def _holds(keys: list[int]) -> bool:
    """Does this transaction still hold what its workers wait for? A rollback to a savepoint lets it go."""
    held: bool = db.value(
        "select exists (select from pg_catalog.pg_locks l where l.locktype = 'advisory' and l.objsubid = 2"
        " and l.pid = pg_catalog.pg_backend_pid()"
        " and l.classid::pg_catalog.int8 = $1 and l.objid::pg_catalog.int8 = $2)",
        ("int8", "int8"),
        [key & 0xFFFFFFFF for key in keys],
    )
    return held
