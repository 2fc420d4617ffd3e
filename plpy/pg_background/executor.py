"""Top-level jobs, on the worker's side: the statement runs by itself on a second connection.

PostgreSQL refuses VACUUM, CREATE INDEX CONCURRENTLY and the like inside a transaction block, and a
worker's own work is one. So the worker opens another session of the same login, the executor, gives
it the statement alone, and waits, holding no snapshot that the statement might wait for.
"""

from __future__ import annotations

from pg_background import db, link, message, queue
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAUSES_MS = (0.5, 1, 2, 5, 10, 20, 50)


def run(cookie: int, names: list[str] | None, values: list[str] | None) -> None:
    """The body of a procedure: run the job of this cookie at top level and record its outcome."""
    job = db.privileged(lambda: db.own_job(cookie, db.own_pid()))
    if job is None:
        raise Refusal("this session is not the worker of that job", "42501")
    if names is None or values is None:
        names, values = job["setting_names"] or [], job["setting_values"] or []
    executor: link.Link | None = None
    kept = message.Kept()
    error: dict[str, Any] = {}
    tag, rows = "", []
    paths = dict(zip(names, values)).get("search_path", "")
    try:
        executor = db.privileged(lambda: _open(job, names, values))
        db.privileged(lambda: _send(executor, job))
        _until_done(executor, kept)
        columns = _output_columns(job, paths)
        tag, rows = db.privileged(lambda: kept.watching(lambda: _collect(executor, job, columns)))
    except db.ServerError as failure:
        error = _fields(failure)
    except Refusal as failure:
        error = {"sqlstate": failure.sqlstate, "message": str(failure), **failure.fields}
    db.rollback()
    db.privileged(lambda: _record(job, executor, tag, rows, error, kept))
    db.commit()
    db.privileged(lambda: _let_go(job, executor))
    db.privileged(lambda: queue.start_waiting(keep_links=False))
    db.commit()
    db.privileged(db.retire)


def _open(job: dict[str, Any], names: list[str], values: list[str]) -> link.Link:
    """A session like the worker's own, set up as the launcher was, and known to the registry."""
    login = db.session_user()
    executor = link.open_link(login, link.EXECUTOR_OPTIONS)
    try:
        db.ask(
            executor.name,
            db.call_text(
                "_executor_starts",
                job["cookie"],
                link.seal("executor", job["cookie"], executor.pid),
            )
            + "::pg_catalog.text",
        )
        for name, value in zip(names, values):
            try:
                db.ask(executor.name, db.setting_text(name, value))
            except db.ServerError as error:
                # As for inline jobs: what this login may not set is left out.
                if db.sqlstate_of(error) == "57014" or link.is_connection_loss(error):
                    raise
        db.ask(executor.name, db.setting_text("application_name", _title(job)))
        if job["role_name"] != login:
            db.ask(executor.name, db.role_text(job["role_name"]))
    except BaseException:
        link.close(executor)
        raise
    return executor


def _title(job: dict[str, Any]) -> str:
    return f"pg_background [{job['label']}]" if job["label"] else "pg_background"


def _send(executor: link.Link, job: dict[str, Any]) -> None:
    statement = (job["statements"] or [job["sql"]])[0]
    if not db.send(executor.name, statement):
        raise Refusal("the executor was lost before it began", "57P01")


def _until_done(executor: link.Link, kept: message.Kept) -> None:
    """Wait in short sleeps with a commit after each: the statement may be waiting for snapshots."""
    turn = 0
    while db.privileged(lambda: kept.watching(lambda: db.is_busy(executor.name))):
        db.sleep(PAUSES_MS[min(turn, len(PAUSES_MS) - 1)])
        turn += 1
        db.commit()


def _output_columns(job: dict[str, Any], search_path: str) -> int:
    """How many columns the answer has. Not inside the door: the search path is the user's."""
    if job["expected_tag"] != "CALL":
        return 1
    from pg_background import statement

    name = statement.call_target((job["statements"] or [job["sql"]])[0]) or ""
    return max(1, db.output_arguments(name, search_path))


def _collect(executor: link.Link, job: dict[str, Any], columns: int) -> tuple[str, list[str]]:
    """The command tag, and the row that a CALL with output arguments returns, as a literal."""
    if job["expected_tag"] == "CALL":
        rows = db.collect_rows(executor.name, columns)
        answer = [_composite(row) for row in rows if row != ["CALL"]]
    else:
        rows = db.collect_rows(executor.name, columns)
        answer = []
    db.collect_rows(executor.name, columns)
    return job["expected_tag"], answer


def _composite(row: list[str | None]) -> str:
    """A row as a composite literal."""
    return "(" + ",".join(
        "" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '""') + '"'
        for value in row
    ) + ")"  # fmt: skip


def _fields(error: BaseException) -> dict[str, Any]:
    """A server's error as the registry keeps it."""
    return {
        "sqlstate": db.sqlstate_of(error),
        "message": db.server_message(error),
        **db.server_fields(error),
    }


def _record(
    job: dict[str, Any],
    executor: link.Link | None,
    tag: str,
    rows: list[str],
    error: dict[str, Any],
    kept: message.Kept,
) -> None:
    progress = db.running_progress(executor.pid) if executor else None
    db.record_top_level(job["cookie"], tag, rows, error, progress)
    db.store_messages(job["cookie"], message.parse(kept.text()))


def _let_go(job: dict[str, Any], executor: link.Link | None) -> None:
    db.release_lock(job["lock_key"])
    if executor is not None:
        link.close(executor)
