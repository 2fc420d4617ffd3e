"""The seam: the only module that imports plpy, and the only place of SQL text.

Everything else is ordinary Python. Functions that need rights beyond the caller's are run through
`privileged`; those that use a link are called inside of it.
"""

from __future__ import annotations

import plpy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pg_background.errors import Refusal

# In single quotes, because the name itself may stand in double ones.
SCHEMA = '@extschema@'  # fmt: skip  # noqa: Q000

_plans: dict[str, Any] = {}


def _run(sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
    """Run a statement through a plan that is kept for the session."""
    plan = _plans.get(sql)
    if plan is None:
        # Qualified, because a type of the caller's own may have the same name and come first.
        qualified = [f"pg_catalog.{each}" for each in types]
        plan = _plans[sql] = plpy.prepare(sql, qualified)
    return plpy.execute(plan, args) if args else plpy.execute(plan)


def _value(sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
    """The first column of the first row, or None."""
    for row in _run(sql, types, args):
        for value in row.values():
            return value
    return None


# --- errors ------------------------------------------------------------------------------------

ServerError: type[Exception] = plpy.SPIError


def sqlstate_of(error: BaseException) -> str:
    """SQLSTATE of an error that the server raised."""
    state: str = getattr(error, "sqlstate", "") or ""
    return state


def raise_to_user(refusal: Refusal) -> None:
    """Raise a Refusal as a PostgreSQL error.

    PL/Python starts the message with the name of the exception's class, so the class is named
    for the reader.
    """
    speaker = type(refusal.speaker, (plpy.Error,), {"__module__": "builtins"})
    error = speaker(str(refusal))
    error.sqlstate = refusal.sqlstate
    for name in ("detail", "hint", "schema_name", "table_name", "column_name", "constraint_name"):
        setattr(error, name, refusal.fields.get(name))
    # The refusal is its own story: without this, the reader gets a second traceback.
    raise error from None


def server_message(error: BaseException) -> str:
    """What the server said, without the class name that PL/Python puts before it."""
    return str(error)


def server_fields(error: BaseException) -> dict[str, Any]:
    """Detail, hint and context of an error that the server raised."""
    detail, hint = (getattr(error, "spidata", None) or (None, None, None))[1:3]
    return {"detail": detail, "hint": hint}


def tell(severity: str, message: str, detail: str | None, hint: str | None) -> None:
    """Send a message to the client at its own level."""
    fields = {name: text for name, text in (("detail", detail), ("hint", hint)) if text}
    if severity == "WARNING":
        plpy.warning(message, **fields)
    elif severity == "INFO":
        plpy.info(message, **fields)
    else:
        plpy.notice(message, **fields)


# --- the door to privilege ---------------------------------------------------------------------


def session_memory() -> dict[str, Any]:
    """A dict that lives as long as the session, across reloads of these modules."""
    memory: dict[str, Any] = GLOBALS.setdefault("pg_background memory", {})
    return memory


# The loader puts PL/Python's GD here.
GLOBALS: dict[str, Any] = {}


def privileged(action: Callable[[], Any]) -> Any:
    """Run a callable with the rights of the schema's owner, and return what it returns.

    The door is a SECURITY DEFINER function without arguments that runs what was left for it here,
    once. Users cannot write Python, so they can leave nothing.
    """
    left: dict[str, Any] = {}

    def carry_out() -> None:
        try:
            left["result"] = action()
        except BaseException as error:
            # Raised again on this side, where it is still a Python exception with all its fields.
            left["error"] = error

    GLOBALS["pg_background door"] = carry_out
    try:
        _run(f"select {SCHEMA}._door()")
    finally:
        GLOBALS.pop("pg_background door", None)
    if "error" in left:
        raise left["error"]
    return left.get("result")


# --- the caller --------------------------------------------------------------------------------


def caller() -> dict[str, Any]:
    """Who calls, and the product's own settings. Not privileged: current_user must be the caller's."""
    found: dict[str, Any] = _run(
        "select session_user::pg_catalog.text as session_user, current_user::pg_catalog.text as current_user,"
        " pg_catalog.to_regrole(pg_catalog.quote_ident(current_user))::pg_catalog.oid::pg_catalog.int8 as role_oid,"
        " pg_catalog.current_setting('role') as role,"
        " pg_catalog.current_setting('search_path') as search_path,"
        " pg_catalog.current_setting('standard_conforming_strings') as standard_strings,"
        " pg_catalog.current_setting('pg_background.max_workers', true) as max_workers,"
        " pg_catalog.current_setting('pg_background.worker_timeout', true) as worker_timeout,"
        " pg_catalog.current_setting('pg_background.default_queue_size', true) as default_queue_size,"
        " pg_catalog.current_setting('pg_background.when_full', true) as when_full,"
        " pg_catalog.pg_backend_pid() as pid, pg_catalog.pg_is_in_recovery() as standby"
    )[0]
    return found


def json_array(text: str) -> list[str | None] | None:
    """The elements of a JSON array as text; None when it is something else."""
    if _value("select pg_catalog.jsonb_typeof($1)", ("jsonb",), (text,)) != "array":
        return None
    found: list[str | None] = _value(
        "select array(select pg_catalog.jsonb_array_elements_text($1))", ("jsonb",), (text,)
    )
    return found


def server_facts() -> dict[str, Any]:
    """Version (as server_version_num) and encoding of this database."""
    found: dict[str, Any] = _run(
        "select pg_catalog.current_setting('server_version_num')::pg_catalog.int4 as version,"
        " pg_catalog.getdatabaseencoding()::pg_catalog.text as encoding"
    )[0]
    return found


def caller_role() -> str:
    """The caller's current_user."""
    role: str = _value("select current_user::pg_catalog.text")
    return role


def session_user() -> str:
    """The session's own user."""
    user: str = _value("select session_user::pg_catalog.text")
    return user


def own_pid() -> int:
    """This session's process id."""
    pid: int = _value("select pg_catalog.pg_backend_pid()")
    return pid


def snapshot_is_old() -> bool:
    """Does this transaction see the registry as it was at its start?"""
    isolation = _value("select pg_catalog.current_setting('transaction_isolation')")
    return isolation in ("repeatable read", "serializable")


def confined(role: str) -> bool:
    """Is this code kept from changing its role (SECURITY DEFINER function, maintenance command)?"""
    try:
        _run("select pg_catalog.set_config('role', $1, false)", ("text",), (role,))
    except plpy.SPIError as error:
        if sqlstate_of(error) != "42501":
            raise
        return True
    return False


def is_like(text: str | None, pattern: str) -> bool:
    """SQL's LIKE."""
    found: bool | None = _value(
        "select $1 operator(pg_catalog.~~) $2", ("text", "text"), (text, pattern)
    )
    return bool(found)


def role_exists(name: str) -> bool:
    """Is there a role of this name?"""
    found: bool = _value(
        "select exists (select from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) $1)",
        ("name",),
        (name,),
    )
    return found


def is_granted(role: str) -> bool:
    """Has this role been granted the use of the product, itself?"""
    found: bool = _value(
        "select exists (select from pg_catalog.pg_auth_members m"
        " join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) m.member"
        " join pg_catalog.pg_roles g on g.oid operator(pg_catalog.=) m.roleid"
        " where r.rolname operator(pg_catalog.=) $1 and g.rolname operator(pg_catalog.=) 'pgbackground_role')",
        ("name",),
        (role,),
    )
    return found


def membership_text(verb: str, role: str) -> str:
    """The command that grants or revokes the right to use the product."""
    preposition = {"grant": "to", "revoke": "from"}[verb]
    return f"{verb} pgbackground_role {preposition} {plpy.quote_ident(role)}"


def execute(command: str) -> None:
    """Run a command with the caller's own rights."""
    plpy.execute(command)


def settings_set_in_session(names: Sequence[str]) -> list[tuple[str, str]]:
    """What SQL can know of the settings of this session, and these: without those that no library has declared."""
    rows = _run(
        "select s.name, pg_catalog.current_setting(s.name) as value from pg_catalog.pg_settings s"
        " where s.source operator(pg_catalog.=) 'session' or s.source operator(pg_catalog.=) 'client'"
        " or s.name operator(pg_catalog.=) any ($1)",
        ("text[]",),
        (list(names),),
    )
    return [(row["name"], row["value"]) for row in rows]


# --- waiting -----------------------------------------------------------------------------------


def lock_timeout_ms() -> int:
    """The caller's own lock_timeout in ms; 0 means none."""
    milliseconds: int = _value(
        "select s.setting::pg_catalog.int4 from pg_catalog.pg_settings s"
        " where s.name operator(pg_catalog.=) 'lock_timeout'"
    )
    return milliseconds


def await_lock(key: int, patience_ms: int) -> bool:
    """Wait until a job's lock is free, or for so many ms. True: it is free."""
    free: bool = _value(
        f"select {SCHEMA}._await_lock($1, $2)", ("int8", "int4"), (key, patience_ms)
    )
    return free


def waits_for_me(pids: Sequence[int]) -> bool:
    """Does one of these processes wait for this session?"""
    found: bool = _value(f"select {SCHEMA}._waits_for_me($1)", ("int4[]",), (list(pids),))
    return found


def sleep(milliseconds: float) -> None:
    """Sleep in a way that a cancel ends."""
    _run("select pg_catalog.pg_sleep($1)", ("float8",), (milliseconds / 1000,))


def commit() -> None:
    """End the transaction of a procedure and begin another."""
    plpy.commit()


def rollback() -> None:
    """Undo the transaction of a procedure and begin another."""
    plpy.rollback()


# --- inside the door: the registry -------------------------------------------------------------


def secret() -> str:
    """What seals the commands that travel over a link."""
    found: str = _value(f"select secret from {SCHEMA}.seal")
    return found


def look(cookie: int, seal: str) -> dict[str, Any] | None:
    """The job's row as this transaction sees it."""
    for row in _run(_look_sql("$1, $2"), ("int8", "text"), (cookie, seal)):
        return row if row["cookie"] is not None else None
    return None


def _look_sql(arguments: str) -> str:
    return (
        "select l.*, (1000 * extract(epoch from l.finished_at operator(pg_catalog.-) l.launched_at))::float8"
        f" as elapsed_ms, {SCHEMA}._is_overdue(l) as overdue from {SCHEMA}._look({arguments}) l"
    )


def may_see(role: str, owner: int) -> bool:
    """Does this role have the rights of the job's owner?"""
    found: bool = _value(
        "select coalesce(pg_catalog.pg_has_role($1::pg_catalog.name, $2::pg_catalog.oid, 'USAGE'), false)",
        ("text", "int8"),
        (role, owner),
    )
    return found


def may_signal(role: str) -> bool:
    """Is this role a member of pg_signal_backend?"""
    found: bool = _value(
        "select pg_catalog.pg_has_role($1::pg_catalog.name, 'pg_signal_backend', 'USAGE')",
        ("text",),
        (role,),
    )
    return found


def pid_is_a_worker(pid: int) -> bool:
    """Does the registry know a live job of this worker?"""
    found: bool = _value(
        f"select exists (select from {SCHEMA}.job where pid = $1 and state in ('queued', 'running'))",
        ("int4",),
        (pid,),
    )
    return found


def chunk_of_rows(cookie: int, chunk: int) -> list[str] | None:
    """A chunk of a job's rows as composite literals."""
    found: list[str] | None = _value(
        f"select rows from {SCHEMA}.job_rows where cookie = $1 and chunk = $2",
        ("int8", "int4"),
        (cookie, chunk),
    )
    return found


def count_chunks(cookie: int) -> int:
    """How many chunks a job's rows are kept in."""
    count: int = _value(
        f"select coalesce(max(chunk), 0) from {SCHEMA}.job_rows where cookie = $1",
        ("int8",),
        (cookie,),
    )
    return count


def messages(cookie: int) -> list[dict[str, Any]]:
    """The kept messages of a job, in order."""
    return list(
        _run(
            f"select seq, severity, message, detail, hint from {SCHEMA}.job_message"
            " where cookie = $1 order by seq",
            ("int8",),
            (cookie,),
        )
    )


def own_job(cookie: int, pid: int) -> dict[str, Any] | None:
    """The running job of this cookie, if this process is its worker."""
    for row in _run(
        f"select j.*, r.rolname::pg_catalog.text as role_name from {SCHEMA}.job j"
        " join pg_catalog.pg_roles r on r.oid = j.role"
        " where j.cookie = $1 and j.pid = $2 and j.state = 'running'",
        ("int8", "int4"),
        (cookie, pid),
    ):
        found: dict[str, Any] = row
        return found
    return None


def output_arguments(procedure: str, search_path: str) -> int:
    """How many columns a CALL of this procedure returns."""
    _run("select pg_catalog.set_config('search_path', $1, true)", ("text",), (search_path,))
    most: int | None = _value(
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


def record_top_level(
    cookie: int, tag: str, rows: list[str], error: dict[str, Any], progress: str | None
) -> None:
    """Record the outcome of a top-level job."""
    fields = [error.get(name) for name in ("sqlstate", "message", "detail", "hint", "context")]
    _run(
        f"select {SCHEMA}._record_top_level($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        ("int8", "text", "text[]", "text", "text", "text", "text", "text", "text"),
        (cookie, tag, rows, progress, *fields),
    )


def store_messages(cookie: int, kept: Sequence[dict[str, Any]]) -> None:
    """Keep a job's messages, in order."""
    for number, each in enumerate(kept, 1):
        _run(
            f"insert into {SCHEMA}.job_message (cookie, seq, severity, message, detail, hint)"
            " values ($1, $2, $3, $4, $5, $6)",
            ("int8", "int4", "text", "text", "text", "text"),
            (cookie, number, each["severity"], each["message"], each["detail"], each["hint"]),
        )


def retire() -> None:
    """Let some of the finished jobs go that retention no longer keeps."""
    _run(f"select {SCHEMA}._retire()")


def release_lock(key: int) -> None:
    """Let go of a job's lock."""
    _run("select pg_catalog.pg_advisory_unlock($1)", ("int8",), (key,))


def pids_in_the_way(cookie: int, seal: str) -> list[int]:
    """The processes that do the work of those running jobs whose places a queued job waits for."""
    rows = _run(
        f"select pid from {SCHEMA}._in_the_way($1, $2) pid", ("int8", "text"), (cookie, seal)
    )
    return [row["pid"] for row in rows]


def next_queued(crowded: Sequence[int]) -> dict[str, Any] | None:
    """The queued job that is to start next, of other logins than these, as far as can be seen without a lock."""
    for row in _run(
        "select j.cookie, j.lock_key, j.sql, j.mode, j.timeout_ms,"
        " j.setting_values[array_position(j.setting_names, 'statement_timeout')] as statement_timeout,"
        " j.login::pg_catalog.int8 as login, l.rolname::pg_catalog.text as login_name,"
        f" r.rolname::pg_catalog.text as role_name from {SCHEMA}.job j"
        " left join pg_catalog.pg_roles l on l.oid = j.login left join pg_catalog.pg_roles r on r.oid = j.role"
        # A subquery is asked once, a volatile function for every row.
        f" where j.cookie = (select {SCHEMA}._next_in_queue($1::pg_catalog.oid[], true))",
        ("int8[]",),
        (list(crowded),),
    ):
        found: dict[str, Any] = row
        return found
    return None


def some_job_is_overdue() -> bool:
    """Does a job run on although its time-out is over?"""
    found: bool = _value(
        f"select exists (select from {SCHEMA}.job j where j.state = 'running' and {SCHEMA}._is_overdue(j))"
    )
    return found


def expire_overdue() -> list[int]:
    """Do what the guards of overdue jobs would have done. Returns the locks of those whose workers were ended."""
    return [row["key"] for row in _run(f"select key from {SCHEMA}._expire_overdue() key")]


def running_progress(pid: int) -> str | None:
    """application_name of a process: progress is reported there."""
    found: str | None = _value(
        "select application_name from pg_catalog.pg_stat_get_activity($1)", ("int4",), (pid,)
    )
    return found


# --- inside the door: the doctor ---------------------------------------------------------------


def installation_checks() -> list[tuple[Any, ...]]:
    """item, ok, detail, cure of what the catalogs and the registry tell."""
    rows = _run(f"select item, ok, detail, cure from {SCHEMA}._check_installation()")
    return [tuple(row.values()) for row in rows]


def product_settings() -> list[dict[str, str]]:
    """place, name, value, cure of the product's settings of roles, databases and this session."""
    return list(_run(f"select place, name, value, cure from {SCHEMA}._check_settings()"))


def logins(caller: str) -> list[str]:
    """The logins that may launch jobs and that this role may be told of."""
    rows = _run(
        f"select l::pg_catalog.text as login from {SCHEMA}._check_logins($1) l",
        ("name",),
        (caller,),
    )
    return [row["login"] for row in rows]


def queued_jobs(caller: str) -> dict[str, Any]:
    """How many jobs of the roles whose rights this one has are queued, and for how long the oldest has been."""
    found: dict[str, Any] = _run(
        "select pg_catalog.count(*) as jobs, pg_catalog.date_trunc('second',"
        "   pg_catalog.clock_timestamp() - pg_catalog.min(j.launched_at))::pg_catalog.text as oldest"
        f" from {SCHEMA}.job j where j.state = 'queued' and j.pid = 0"
        " and pg_catalog.pg_has_role($1::pg_catalog.name, j.role, 'USAGE')",
        ("text",),
        (caller,),
    )[0]
    return found


def modules_are_compiled(hexversion: int) -> bool:
    """Is the code of the modules kept for this Python?"""
    found: bool = _value(
        f"select exists (select from {SCHEMA}.module_code where hexversion = $1)",
        ("int4",),
        (hexversion,),
    )
    return found


def server_version() -> int:
    """The server's major version."""
    number: int = _value("select pg_catalog.current_setting('server_version_num')::pg_catalog.int4")
    return number // 10000


# --- inside the door: links --------------------------------------------------------------------


def connection_facts() -> dict[str, str]:
    """Where this server listens, which database this is, and what the DBA has set for logins."""
    facts: dict[str, str] = _run(
        "select pg_catalog.current_database()::pg_catalog.text as database,"
        " pg_catalog.current_setting('port') as port,"
        " pg_catalog.current_setting('unix_socket_directories') as sockets,"
        f" (select value from {SCHEMA}.pg_background_config where name = 'conninfo') as conninfo,"
        " (select n.nspname::pg_catalog.text from pg_catalog.pg_extension e"
        "    join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'dblink') as dblink"
    )[0]
    return facts


def user_mapping(server: str, role: str) -> dict[str, str]:
    """Options of a foreign server and of a role's (or PUBLIC's) user mapping there.

    A server of somebody who is no superuser is not asked: it could send the jobs of all anywhere.
    """
    rows = _run(
        "with s as ("
        "  select f.oid, f.srvoptions from pg_catalog.pg_foreign_server f"
        "    join pg_catalog.pg_roles r on r.oid = f.srvowner"
        "   where f.srvname = $1 and r.rolsuper"
        ") select o.option_name as name, o.option_value as value, o.rank from ("
        "  select 0 as rank, t.* from s, pg_catalog.pg_options_to_table(s.srvoptions) t"
        "  union all"
        "  select case when m.umuser = 0 then 1 else 2 end, t.*"
        "    from pg_catalog.pg_user_mapping m"
        "    join s on s.oid = m.umserver, pg_catalog.pg_options_to_table(m.umoptions) t"
        "   where m.umuser in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = $2))"
        ") o order by o.rank",
        ("name", "name"),
        (server, role),
    )
    return {row["name"]: row["value"] for row in rows}


def connections_left() -> dict[str, Any]:
    """How many connections the server has left at this moment, and how many are for people.

    reserved: what the server keeps for superusers and pg_use_reserved_connections; margin: what the DBA does.
    """
    # Within a transaction the list of sessions stays as it was at the first look.
    _run("select pg_catalog.pg_stat_clear_snapshot()")
    found: dict[str, Any] = _run(
        "select pg_catalog.current_setting('max_connections')::pg_catalog.int4 - (select pg_catalog.count(*)"
        "   from pg_catalog.pg_stat_activity a where a.backend_type = 'client backend') as free,"
        " pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4"
        " + coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0) as reserved,"
        f" (select value from {SCHEMA}.pg_background_config where name = 'free_connections') as margin"
    )[0]
    return found


def use_dblink(schema: str) -> None:
    """Remember the schema that dblink was installed in."""
    session_memory()["dblink"] = plpy.quote_ident(schema)


def _dblink(function: str) -> str:
    schema: str = session_memory()["dblink"]
    return f"{schema}.dblink{function}"


def connect(link: str, conninfo: str) -> None:
    """Open a link by a name."""
    _run(f"select {_dblink('_connect_u')}($1, $2)", ("text", "text"), (link, conninfo))


def disconnect(link: str) -> None:
    """Close a link; what it was sent goes on."""
    _run(f"select {_dblink('_disconnect')}($1)", ("text",), (link,))


def ask(link: str, sql: str) -> list[str | None]:
    """Run a query of one text column over a link and wait for its rows."""
    rows = _run(
        f"select answer from {_dblink('')}($1, $2) as t(answer pg_catalog.text)",
        ("text", "text"),
        (link, sql),
    )
    return [row["answer"] for row in rows]


def send(link: str, sql: str) -> bool:
    """Send a command over a link and do not wait. False: the link is gone."""
    sent: int = _value(f"select {_dblink('_send_query')}($1, $2)", ("text", "text"), (link, sql))
    return sent == 1


def is_busy(link: str) -> bool:
    """Is the command that was sent still under way?"""
    busy: int = _value(f"select {_dblink('_is_busy')}($1)", ("text",), (link,))
    return busy == 1


def collect(link: str) -> str | None:
    """Wait for the one-column answer of the query that was sent, and make the link ready for another."""
    answer: str | None = _value(
        f"select (select t.answer from {_dblink('_get_result')}($1) as t(answer pg_catalog.text)) as answer,"
        f" (select t.answer from {_dblink('_get_result')}($1) as t(answer pg_catalog.text)) as nothing",
        ("text",),
        (link,),
    )
    return answer


def collect_rows(link: str, columns: int) -> list[list[str | None]]:
    """The next result of the command that was sent, with so many columns; [] after the last."""
    names = [f"c{number}" for number in range(columns)]
    definition = ", ".join(f"{name} pg_catalog.text" for name in names)
    rows = _run(
        f"select * from {_dblink('_get_result')}($1) as t({definition})", ("text",), (link,)
    )
    return [[row[name] for name in names] for row in rows]


# --- commands for the other end of a link ------------------------------------------------------


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "array[" + ", ".join(map(_literal, value)) + "]::pg_catalog.text[]"
    literal: str = plpy.quote_literal(value)
    return literal


def call_text(function: str, *args: Any) -> str:
    """A query that calls one of the worker's functions; the server's own quoting for every literal."""
    return f"select {SCHEMA}.{function}({', '.join(map(_literal, args))})"


def look_text(cookie: int, seal: str) -> str:
    """A query for the job's row as JSON."""
    inner = _look_sql(f"{cookie}, {_literal(seal)}")
    return f"select pg_catalog.row_to_json(r)::pg_catalog.text from ({inner}) r"


def stored_literals_text(cookie: int, chunks: int, seal: str) -> str:
    """A FROM clause that gives the literals of a job's rows, chunk by chunk."""
    return (
        f"pg_catalog.generate_series(1, {chunks}) n,"
        f" pg_catalog.unnest({SCHEMA}._chunk({cookie}, n, {_literal(seal)})) l (literal)"
    )


def remote_literals_text(pid: int, cookie: int) -> str:
    """The same for a transaction that does not see the rows."""
    return f"{SCHEMA}._literals({pid}, {cookie}) l (literal)"


def chunk_text(cookie: int, chunk: int, seal: str) -> str:
    """A query for a chunk of a job's rows."""
    return f"select pg_catalog.unnest({SCHEMA}._chunk({cookie}, {chunk}, {_literal(seal)}))"


def messages_text(cookie: int, seal: str) -> str:
    """A query for a job's messages, each as JSON."""
    return (
        "select pg_catalog.row_to_json(m)::pg_catalog.text"
        f" from {SCHEMA}._messages({cookie}, {_literal(seal)}) m"
    )


def pids_in_the_way_text(cookie: int, seal: str) -> str:
    """A query for the processes in the way of a queued job."""
    return f"select pid::pg_catalog.text from {SCHEMA}._in_the_way({cookie}, {_literal(seal)}) pid"


def setting_text(name: str, value: str) -> str:
    """The command that sets a setting for a session."""
    return f"select pg_catalog.set_config({_literal(name)}, {_literal(value)}, false)"


def role_text(role: str) -> str:
    """The command that makes a worker take another role."""
    return f"select pg_catalog.set_config('role', {_literal(role)}, false)"


# A query that only proves that the other end is there.
ALIVE = "select null::pg_catalog.text"

# The commands that have a worker start what waits in the queue, and end the jobs whose time-out is over.
KEEP_TIME_OUTS = f"call {SCHEMA}._keep_time_outs()"
START_QUEUED = f"call {SCHEMA}._start_queued()"


def guard_text(cookie: int, key: int, timeout_ms: int, *seals: str) -> str:
    """The command that has a session watch over a job's time-out."""
    arguments = ", ".join(map(_literal, (cookie, key, timeout_ms, *seals)))
    return f"call {SCHEMA}._guard({arguments})"


def run_text(
    procedure: str, sql: str, cookie: int, names: list[str] | None, values: list[str] | None
) -> str:
    """The command that runs a job; it begins with the job's SQL, for those who read pg_stat_activity."""
    shown = sql[:900].replace("/*", "/ *").replace("*/", "* /")
    if shown.endswith(("/", "*")):
        shown += " "
    arguments = ", ".join((str(cookie), _literal(names), _literal(values)))
    return f"/* {shown} */ call {SCHEMA}.{procedure}({arguments})"
