"""The settings that travel with a job, and the product's own."""

from __future__ import annotations

from pg_background import db, guc
from pg_background.errors import bad_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Settings that belong to one connection or one transaction, or that the worker must keep for
# itself: its client has left, so it must not send messages, end with its socket or idle for long.
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
    )
)
MAX_WORKERS = (16, 1, 1000)
LARGEST_TIMEOUT_MS = 2147483647
QUEUE_SIZES = (64, 268435456)
DEFAULT_QUEUE_SIZE = 65536
NO_UNITS = {"": 1}
TIME_UNITS = {"": 1, "us": 0.001, "ms": 1, "s": 1000, "min": 60000, "h": 3600000, "d": 86400000}
SIZE_UNITS = {"": 1, "B": 1, "kB": 1024, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def travelling(search_path: str) -> dict[str, str]:
    """The settings that the worker takes over: those that this session has set.

    search_path: the caller's own, because inside the door there is another one.
    """
    found = dict(guc.own() if guc.available() else db.settings_set_in_session(guc.WHOEVER_SET_THEM))
    for name in STAY & found.keys():
        del found[name]
    found["search_path"] = search_path
    return found


class Options:
    """The product's own settings, checked. A value may have a unit, as PostgreSQL writes it."""

    __slots__ = ("max_workers", "queue_size", "when_full", "worker_timeout_ms")

    def __init__(self, caller: Mapping[str, Any]) -> None:
        self.max_workers = _checked(caller, "max_workers", *MAX_WORKERS)
        self.worker_timeout_ms = _checked(
            caller, "worker_timeout", 0, 0, LARGEST_TIMEOUT_MS, TIME_UNITS
        )
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
