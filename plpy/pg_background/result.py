"""result: the rows of a job, or its command tag, or its error.

The rows themselves flow in PL/pgSQL (sql/functions/result.sql); here is what leads up to them.
"""

from __future__ import annotations

from pg_background import db, identity, registry, session, tag, wait
from pg_background import row as composite
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def opened(pid: int, cookie: int) -> tuple[str | None, int, int, str | None]:
    """What there is to be read of a job, waiting for its end: tag, width, row_count, source.

    tag is the full command tag of a job without rows; source, a FROM clause that gives the literals of
    the others, is null where there is nothing at all. Raises the job's own error, 0A000 for a submitted
    job, 55000 for rows that were dropped, and as `wait`.
    """
    row = succeeded(pid, cookie)
    if not row["command_tag"]:
        return None, 0, 0, None
    if row["columns"] is None:
        return tag.full_tag(row["command_tag"], row["row_count"]), 1, 1, None
    if row["row_count"] and not row["columns"] and row["command_tag"] == "SELECT":
        # A row without columns fits no column list.
        return None, 0, row["row_count"], _source(row)
    return None, _width(row), row["row_count"], _source(row)


def _width(row: dict[str, Any]) -> int:
    """How many columns a job's rows have; of what a CALL returns no names are known."""
    if row["columns"]:
        return len(row["columns"][0])
    first = next(chunks(row["cookie"], row["row_count"]), None)
    return len(composite.parse(first[0])) if first else 1


def _source(row: dict[str, Any]) -> str:
    """A FROM clause that gives the job's literals: from the tables, or over a link where this snapshot is too old."""
    cookie = row["cookie"]
    if identity.snapshot_is_old():
        return f"pgbackground.literals({row['pid']}, {cookie}) l (literal)"
    of_job = f"from pgbackground.visible_rows r where r.cookie operator(pg_catalog.=) {cookie}"
    return (
        f"pg_catalog.generate_series(1, (select pg_catalog.max(r.chunk) {of_job})) n,"
        f" lateral (select r.rows {of_job} and r.chunk operator(pg_catalog.=) n) c,"
        " pg_catalog.unnest(c.rows) l (literal)"
    )


def succeeded(pid: int, cookie: int) -> dict[str, Any]:
    """The registry's row of a job that has succeeded, waiting for the end; tells the job's messages.

    Raises as `result`.
    """
    row = finished(pid, cookie)
    job = session.jobs().get(row["cookie"])
    if job is not None:
        job.consumed = True
    if row["mode"] == "top-level" or row["attempt"] > 1:
        # Other jobs have none.
        for message in registry.messages(row["cookie"]):
            db.tell(message["severity"], message["message"], message["detail"], message["hint"])
    if row["state"] != "stopped":
        raise of_job(row)
    return row


def finished(pid: int, cookie: int) -> dict[str, Any]:
    """The registry's row of a job that has ended, waiting for the end. Raises as `result`."""
    row = registry.find(pid, cookie)
    if not row["keeps_rows"]:
        raise Refusal(
            "the results of a submitted job are not kept",
            "0A000",
            hint="Use pg_background_launch for a job whose result is wanted.",
        )
    if row["live"]:
        wait.wait(pid, cookie)
        row = registry.find(pid, cookie)
    if row["detached"] or session.has_let_go(cookie):
        raise rows_dropped(row["pid"])
    return row


def rows_dropped(pid: int) -> Refusal:
    """55000: there were rows, and they are gone."""
    return Refusal(
        f"results of background worker with PID {pid} are no longer kept",
        "55000",
        hint="They are dropped by detach and by retention.",
    )


def of_job(row: dict[str, Any]) -> Refusal:
    """The job's own error, to be raised again."""
    names = ("detail", "hint", "schema_name", "table_name", "column_name", "constraint_name")
    return Refusal(
        row["message"], row["sqlstate"], "background worker", **{name: row[name] for name in names}
    )


def literals(row: dict[str, Any]) -> Iterator[str]:
    """The stored rows as composite literals, one by one. Raises 55000 when they go away meanwhile."""
    seen = 0
    for chunk in chunks(row["cookie"], row["row_count"]):
        seen += len(chunk)
        yield from chunk
    if seen != row["row_count"]:
        raise rows_dropped(row["pid"])


def chunks(cookie: int, row_count: int) -> Iterator[list[str]]:
    """The stored rows, chunk by chunk."""
    number = 1
    while row_count > 0:
        literals = registry.chunk(cookie, number)
        if not literals:
            return
        yield literals
        row_count -= len(literals)
        number += 1
