"""Top-level jobs, on the worker's side: the statement runs by itself on a second connection.

PostgreSQL refuses VACUUM, CREATE INDEX CONCURRENTLY and the like inside a transaction block, and a
worker's own work is one. So the worker opens another session of the same login, the executor, gives
it the statement alone, and waits, holding no snapshot that the statement might wait for.
"""

from __future__ import annotations

from pg_background import db, dblink, identity, link, login, message, queue
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAUSES_MS = (0.5, 1, 2, 5, 10, 20, 50)


_JOB = (
    "select j.*, r.rolname::pg_catalog.text as name_of_role from pgbackground.job j"
    " join pg_catalog.pg_roles r on r.oid = j.role"
    " where j.cookie = $1 and j.pid = pg_catalog.pg_backend_pid() and j.state = 'running'"
)


def run(cookie: int, names: list[str] | None, values: list[str] | None) -> None:
    """The body of a procedure: run the job of this cookie at top level and record its outcome."""
    job = db.privileged(lambda: db.row(_JOB, ("int8",), (cookie,)))
    if job is None:
        raise Refusal("this session is not the worker of that job", "42501")
    executor: link.Link | None = None
    kept = message.Kept()
    error: dict[str, Any] = {}
    rows: list[str] = []
    paths = dict(zip(names or (), values or ())).get("search_path", "")
    try:
        executor = db.privileged(lambda: _open(job))
        _refuse_canceled(job, executor)
        db.privileged(lambda: _send(executor, job, names or [], values or []))
        _until_done(executor, kept)
        columns = _output_columns(job, paths)
        rows = db.privileged(lambda: kept.watching(lambda: _collect(executor, job, columns)))
    except db.ServerError as failure:
        error = _fields(failure)
    except Refusal as failure:
        error = {"sqlstate": failure.sqlstate, "message": str(failure), **failure.fields}
    db.rollback()
    _record(job, executor, rows, error, kept)
    db.commit()
    db.privileged(lambda: _let_go(job, executor))
    db.privileged(lambda: queue.start_waiting(keep_links=False))
    db.commit()
    db.privileged(lambda: db.rows("select pgbackground.retire(0, $1)", ("oid",), (job["role"],)))


def _open(job: dict[str, Any]) -> link.Link:
    """A session like the worker's own, known to the registry."""
    executor = link.open_link(identity.own().login, login.EXECUTOR_OPTIONS)
    db.rows(
        "select pgbackground.name_executor($1, $2)", ("int8", "int4"), (job["cookie"], executor.pid)
    )
    return executor


def _refuse_canceled(job: dict[str, Any], executor: link.Link) -> None:
    """Whoever cancels from here on signals the executor; who has done it before is seen here. Raises 57014."""
    db.commit()
    sql = "select pgbackground.is_canceled(j) from pgbackground.job j where j.cookie = $1"
    if db.privileged(lambda: db.value(sql, ("int8",), (job["cookie"],))):
        db.privileged(lambda: link.close(executor))
        raise Refusal("canceling statement due to user request", db.CANCELED)


def _title(job: dict[str, Any]) -> str:
    return f"pg_background [{job['label']}]" if job["label"] else "pg_background"


def _send(executor: link.Link, job: dict[str, Any], names: list[str], values: list[str]) -> None:
    """Set the executor up as the launcher was, and give it the statement."""
    for name, value in zip(names, values):
        try:
            executor.set(name, value)
        except db.ServerError as error:
            # As for inline jobs: what this login may not set is left out.
            if db.sqlstate_of(error) == db.CANCELED or link.is_connection_loss(error):
                raise
    executor.set("application_name", _title(job))
    executor.set("pg_background.last_job", str(job["cookie"]))
    executor.become(identity.Identity(executor.login, job["name_of_role"], own_login=True))
    statement = (job["statements"] or [job["sql"]])[0]
    if not dblink.send(executor.name, statement):
        raise Refusal("the executor was lost before it began", "57P01")


def _until_done(executor: link.Link, kept: message.Kept) -> None:
    """Wait in short sleeps with a commit after each: the statement may be waiting for snapshots.

    While it speaks there is more to be read at once.
    """
    turn = 0
    while db.privileged(lambda: kept.watching(lambda: dblink.is_busy(executor.name))):
        if kept.spoke:
            turn = 0
        db.sleep(PAUSES_MS[min(turn, len(PAUSES_MS) - 1)])
        turn += 1
        db.commit()


def _output_columns(job: dict[str, Any], search_path: str) -> int:
    """How many columns the answer has. Not inside the door: the search path is the user's."""
    if job["expected_tag"] != "CALL":
        return 1
    from pg_background import statement

    name = statement.call_target((job["statements"] or [job["sql"]])[0]) or ""
    return max(1, _output_arguments(name, search_path))


def _output_arguments(procedure: str, search_path: str) -> int:
    """How many columns a CALL of this procedure returns."""
    db.rows("select pg_catalog.set_config('search_path', $1, true)", ("text",), (search_path,))
    most: int | None = db.value(
        "select pg_catalog.max((select pg_catalog.count(*) from pg_catalog.unnest(p.proargmodes) m (mode)"
        "   where m.mode operator(pg_catalog.=) 'b' or m.mode operator(pg_catalog.=) 'o'))::pg_catalog.int4"
        " from pg_catalog.parse_ident($1) w (words), pg_catalog.pg_proc p"
        " join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace"
        " where p.prokind operator(pg_catalog.=) 'p'"
        " and p.proname::pg_catalog.text operator(pg_catalog.=) w.words[pg_catalog.cardinality(w.words)]"
        " and case when pg_catalog.cardinality(w.words) operator(pg_catalog.=) 1"
        "   then pg_catalog.pg_function_is_visible(p.oid)"
        "   else n.nspname::pg_catalog.text operator(pg_catalog.=) w.words[1] end",
        ("text",),
        (procedure,),
    )
    return most or 0


def _collect(executor: link.Link, job: dict[str, Any], columns: int) -> list[str]:
    """The row that a CALL with output arguments returns, as a literal."""
    if job["expected_tag"] == "CALL":
        rows = dblink.collect_rows(executor.name, columns)
        answer = [_composite(row) for row in rows if row != ["CALL"]]
    else:
        rows = dblink.collect_rows(executor.name, columns)
        answer = []
    dblink.collect_rows(executor.name, columns)
    return answer


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
    rows: list[str],
    error: dict[str, Any],
    kept: message.Kept,
) -> None:
    """The outcome, with its rows and messages, in one transaction."""
    cookie = job["cookie"]
    progress = db.value(
        "select a.application_name from pg_catalog.pg_stat_get_activity($1) a",
        ("int4",),
        (executor.pid if executor else 0,),
    )
    place = db.value("select (pgbackground.claim($1)).place::pg_catalog.text", ("int8",), (cookie,))
    keeps = bool(rows) and not error and job["keeps_rows"]
    if keeps:
        db.rows(
            "select pgbackground.store_rows($1, $2, 1, $3)",
            ("int8", "tid", "text[]"),
            (cookie, place, rows),
        )
    fields = [error.get(name) for name in ("sqlstate", "message", "detail", "hint", "context")]
    db.rows(
        "select pgbackground.finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, null, null, null, null)",
        ("int8", "tid", "int8", "text[]", "text", "text", "text", "text", "text", "text"),
        (cookie, place, len(rows), [] if keeps else None, progress, *fields),
    )
    db.privileged(lambda: _keep_messages(cookie, message.parse(kept.text())))


def _keep_messages(cookie: int, messages: list[dict[str, Any]]) -> None:
    for number, each in enumerate(messages, 1):
        db.rows(
            "insert into pgbackground.job_message (cookie, seq, severity, message, detail, hint)"
            " values ($1, $2, $3, $4, $5, $6)",
            ("int8", "int4", "text", "text", "text", "text"),
            (cookie, number, each["severity"], each["message"], each["detail"], each["hint"]),
        )


def _let_go(job: dict[str, Any], executor: link.Link | None) -> None:
    db.rows("select pg_catalog.pg_advisory_unlock($1)", ("int8",), (job["lock_key"],))
    if executor is not None:
        link.close(executor)
