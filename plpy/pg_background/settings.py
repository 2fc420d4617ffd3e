"""The settings that travel with a job, and the product's own."""

from __future__ import annotations

from pg_background import db, guc
from pg_background.errors import bad_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Settings that belong to one connection or one transaction, or that the worker must keep for
# itself: its client has left, so it must not send messages, end with its socket or idle for long. A
# transaction_timeout would end the worker without a word: it counts as the job's own time-out.
STAY = frozenset(
    (
        "application_name",
        "client_connection_check_interval",
        "client_encoding",
        "client_min_messages",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "is_superuser",
        "role",
        "search_path",
        "seed",
        "session_authorization",
        "tcp_keepalives_count",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_user_timeout",
        "transaction_deferrable",
        "transaction_isolation",
        "transaction_read_only",
        "transaction_timeout",
    )
)
MAX_WORKERS = (16, 1, 1000)
LARGEST_TIMEOUT_MS = 2147483647
QUEUE_SIZES = (64, 268435456)
DEFAULT_QUEUE_SIZE = 65536
NO_UNITS = {"": 1}
TIME_UNITS = {"": 1, "us": 0.001, "ms": 1, "s": 1000, "min": 60000, "h": 3600000, "d": 86400000}
SIZE_UNITS = {"": 1, "B": 1, "kB": 1024, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


# What SQL can know of the settings of a session, and these: without those that no library has declared.
_SET_IN_SESSION = (
    "select s.name, pg_catalog.current_setting(s.name) as value from pg_catalog.pg_settings s"
    " where s.source operator(pg_catalog.=) 'session' or s.source operator(pg_catalog.=) 'client'"
    " or s.name operator(pg_catalog.=) any ($1)"
)
# Of these settings, each with the role that set it, those that no library has declared in this session.
# $3: only what a stranger has set for a superuser.
_UNDECLARED = (
    "select array(select s.name from rows from (pg_catalog.unnest($1), pg_catalog.unnest($2)) s (name, setter)"
    " where case when not $3"
    "  or exists (select from pg_catalog.pg_roles r where r.rolsuper"
    "              and r.rolname operator(pg_catalog.=) any (array[session_user, current_user]))"
    "  and not exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) s.setter"
    "              and r.rolname operator(pg_catalog.=) any (array[session_user, current_user]))"
    " then not exists (select from pg_catalog.pg_settings d where d.name operator(pg_catalog.=) s.name) end)"
)


def travelling(search_path: str, own_login: bool, role: int) -> dict[str, str]:
    """The settings that the worker takes over: those that this session has set.

    search_path: the caller's own, because inside the door there is another one.
    own_login: the worker logs in as the session does. role: the caller's, as an oid.
    What no library has declared may be set by anybody, and once a library declares it, it counts as set with the
    rights of the job. So it does not travel to another's login, nor from a stranger to a superuser.
    """
    found = guc.own() if guc.available() else _set_in_session()
    doubtful = {
        name: setter or 0
        for name, _, setter in found
        if "." in name and not (own_login and setter in (None, role))
    }
    left_out = _undeclared(doubtful, own_login) if doubtful else ()
    taken = {name: value for name, value, _ in found if name not in STAY and name not in left_out}
    taken["search_path"] = search_path
    return taken


def _set_in_session() -> list[tuple[str, str, int | None]]:
    rows = db.rows(_SET_IN_SESSION, ("text[]",), (list(guc.WHOEVER_SET_THEM),))
    return [(row["name"], row["value"], None) for row in rows]


def _undeclared(setters: Mapping[str, int], own_login: bool) -> list[str]:
    found: list[str] = db.value(
        _UNDECLARED,
        ("text[]", "oid[]", "bool"),
        (list(setters), list(setters.values()), own_login),
    )
    return found


def milliseconds(timeout: str | None) -> int:
    """A time-out as the server writes it, in ms; 0 for none."""
    if not timeout:
        return 0
    return max(0, int(timeout) if timeout.isdecimal() else _with_unit(timeout, TIME_UNITS, 0))


class Options:
    """The product's own settings, checked. A value may have a unit, as PostgreSQL writes it."""

    __slots__ = ("max_workers", "queue_size", "when_full", "worker_timeout_ms")

    def __init__(self, caller: Mapping[str, Any]) -> None:
        self.max_workers = _checked(caller, "max_workers", *MAX_WORKERS)
        self.worker_timeout_ms = _checked(
            caller, "worker_timeout", 0, 0, LARGEST_TIMEOUT_MS, TIME_UNITS
        )
        bound_ms = milliseconds(caller.get("transaction_timeout"))
        self.worker_timeout_ms = min(filter(None, (self.worker_timeout_ms, bound_ms)), default=0)
        self.queue_size = _checked(
            caller, "default_queue_size", DEFAULT_QUEUE_SIZE, *QUEUE_SIZES, SIZE_UNITS
        )
        self.when_full = caller["when_full"] or "error"
        if self.when_full not in ("error", "queue"):
            raise bad_value(
                f'invalid value for parameter "pg_background.when_full": "{self.when_full}"',
                hint="Available values: error, queue.",
            )


def _checked(
    caller: Mapping[str, Any],
    name: str,
    default: int,
    least: int,
    most: int,
    units: Mapping[str, float] = NO_UNITS,
) -> int:
    """A setting as a whole number in its base unit."""
    text: str | None = caller[name]
    if not text:
        return default
    if text.isdecimal() and text.isascii():
        value = int(text) if len(text) <= len(str(most)) else most + 1
    else:
        value = _with_unit(text.strip(), units, least - 1)
    if not least <= value <= most:
        known = ", ".join(f'"{unit}"' for unit in units if unit)
        raise bad_value(
            f'invalid value for parameter "pg_background.{name}": "{text}"',
            hint=f"The value is a whole number from {least} to {most}"
            + (f", or has a unit: {known}." if known else "."),
        )
    return value


def _with_unit(text: str, units: Mapping[str, float], unreadable: int) -> int:
    number = text.rstrip("aBdGhikMmnsTuw").rstrip()
    if "_" in number or not number.isascii():
        return unreadable
    try:
        return round(float(number) * units[text[len(number) :].strip()])
    except (ValueError, KeyError, OverflowError):
        return unreadable


def queue_size(asked: int | None, options: Options) -> int:
    """The queue size that list() shows; results do not pass through it."""
    if asked is None or asked <= 0:
        return options.queue_size
    least, most = QUEUE_SIZES
    if asked < least:
        raise bad_value(f"queue size must be at least {least} bytes")
    if asked > most:
        raise bad_value(
            f"queue size must not exceed {most} bytes",
            hint="Results do not pass through the queue: the default serves any size.",
        )
    return asked
