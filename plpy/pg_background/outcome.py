"""outcome, result_info, error_info, full_sql, messages and list: what is known of a job."""

from __future__ import annotations

from pg_background import registry, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PREVIEW = 120


def outcome(pid: int | None, cookie: int | None) -> tuple[Any, ...]:
    """The columns of pg_background_outcome; nulls where nothing is known or may be known. Never raises."""
    row = registry.known(pid, cookie)
    return nothing_known(pid, cookie) if row is None else columns(row)


def nothing_known(pid: int | None, cookie: int | None) -> tuple[Any, ...]:
    """An outcome that tells no more than the handle that was asked for."""
    return (pid, cookie, *(None,) * 10)


def columns(row: dict[str, Any]) -> tuple[Any, ...]:
    """A registry row as the columns of pg_background_outcome."""
    job = session.jobs().get(row["cookie"])
    return (
        row["pid"],
        row["cookie"],
        row["state"],
        bool(job and job.consumed),
        not row["live"],
        row["state"] in ("error", "canceled"),
        row["row_count"],
        row["command_tag"],
        row["sqlstate"],
        row["message"],
        row["label"],
        row["launched_at"],
    )


def result_info(pid: int | None, cookie: int | None) -> tuple[Any, ...]:
    """The columns of pg_background_result_info. Raises 42704, 55000, 42501."""
    row = registry.find(pid, cookie)
    return (
        row["row_count"],
        row["command_tag"],
        not row["live"],
        row["state"] in ("error", "canceled"),
        row["started_at"] or row["launched_at"],
        row["finished_at"],
    )


def error_info(pid: int | None, cookie: int | None) -> tuple[Any, ...] | None:
    """The columns of pg_background_error; None without an error. Raises 42704, 55000, 42501."""
    row = registry.find(pid, cookie)
    if row["sqlstate"] is None:
        return None
    names = (
        "sqlstate", "message", "detail", "hint", "context",
        "schema_name", "table_name", "column_name", "constraint_name",
    )  # fmt: skip
    return tuple(row[name] for name in names)


def full_sql(pid: int | None, cookie: int | None) -> str:
    """The job's whole text. Raises 42704, 55000, 42501."""
    text: str = registry.find(pid, cookie)["sql"]
    return text


def messages(pid: int, cookie: int) -> Iterator[tuple[Any, ...]]:
    """The columns of pg_background_messages. Raises 42704, 55000, 42501."""
    row = registry.find(pid, cookie)
    for each in registry.messages(row["cookie"]):
        yield each["seq"], each["severity"], each["message"], each["detail"], each["hint"]


def listed() -> Iterator[tuple[Any, ...]]:
    """The rows of list(): this session's jobs, in order of launch."""
    for cookie, job in list(session.jobs().items()):
        row = registry.own(cookie)
        if row is None:
            continue
        yield (
            row["pid"],
            cookie,
            row["launched_at"],
            row["role"],
            row["queue_size"],
            row["state"],
            row["sql"][:PREVIEW],
            row["message"],
            job.consumed,
            row["label"],
        )
