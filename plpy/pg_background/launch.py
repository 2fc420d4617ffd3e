"""launch and submit: hand SQL to a worker and return its handle."""

from __future__ import annotations

from pg_background import (
    db,
    handover,
    identity,
    link,
    overdue,
    queue,
    registry,
    session,
    settings,
    statement,
    stats,
    tag,
)
from pg_background.cookie import random_cookie
from pg_background.errors import Gone, Refusal, bad_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_LABEL = 64
LIMIT_REACHED = "53400"
UNKNOWN = "42704"
# A worker that is no longer heard of ends soon: so often it is looked whether it has, a ms or two apart.
ENDINGS = 100
_IS_ALIVE = (
    "select exists (select from pg_catalog.pg_stat_get_activity($1)) as alive"
    " from pg_catalog.pg_stat_clear_snapshot()"
)
REFUSED = {
    "transaction": "transaction control statements are not allowed in pg_background",
    "client copy": "COPY protocol not allowed in pg_background",
}
LISTENING = "cannot execute LISTEN within a background process"
# The parts of SET TRANSACTION that count only before a transaction's first query, as settings.
TRANSACTION_MODES = (
    ("isolation level serializable", "default_transaction_isolation", "serializable"),
    ("isolation level repeatable read", "default_transaction_isolation", "repeatable read"),
    ("isolation level read committed", "default_transaction_isolation", "read committed"),
    ("isolation level read uncommitted", "default_transaction_isolation", "read committed"),
    ("read only", "default_transaction_read_only", "on"),
    ("read write", "default_transaction_read_only", "off"),
    ("not deferrable", "default_transaction_deferrable", "off"),
    ("deferrable", "default_transaction_deferrable", "on"),
)


class Plan:
    """How the worker runs a text: its statements (None: the text is one), their kinds, the last one's tag.

    SET TRANSACTION at the beginning of the text becomes `modes`, settings of the job's transaction.
    """

    __slots__ = ("kinds", "modes", "mode", "statements", "tag")

    def __init__(self, sql: str, standard_strings: bool) -> None:
        texts = statement.split(sql, standard_strings)
        classified = [statement.classify(text, standard_strings) for text in texts]
        self.statements = None if texts == [sql] else texts
        self.kinds = [_kind(each) for each in classified]
        self.tag = tag.of_outcome(classified[-1].tag, classified[-1].text) if classified else ""
        self.mode = "top-level" if self.kinds == ["top"] else "inline"
        self.modes: dict[str, str] = {}
        for number, each in enumerate(classified):
            if each.kind != "set transaction":
                break
            self.modes.update(_transaction_modes(each.text))
            self.kinds[number] = "done"


def _kind(each: statement.Statement) -> str:
    """How the worker runs a statement, or the message with which it refuses to."""
    if each.tag == "LISTEN":
        return LISTENING
    if each.tag in ("COMMIT PREPARED", "ROLLBACK PREPARED"):
        return REFUSED["transaction"]
    return REFUSED.get(each.kind, each.kind)


def _transaction_modes(text: str) -> dict[str, str]:
    """SET TRANSACTION as settings; what is no mode is left to the server's own error."""
    words = " ".join(text.lower().replace(",", " ").split())
    found: dict[str, str] = {}
    for phrase, name, value in TRANSACTION_MODES:
        if phrase in words and name not in found:
            found[name] = value
    return found


class Request:
    """Everything that is known of a job before it has a worker."""

    __slots__ = (
        "caller", "cookie", "detached", "keeps_rows", "label", "lock_key",
        "options", "params", "plan", "queue_size", "registered", "settings", "sql", "unanswered", "who",
    )  # fmt: skip

    def __init__(
        self,
        sql: str,
        queue_size: int | None,
        label: str | None,
        params: list[str | None] | None,
        keeps_rows: bool,
        detached: bool,
    ) -> None:
        self.caller = identity.caller()
        if self.caller["standby"]:
            raise Refusal("jobs cannot be launched on a standby", "25006")
        self.options = settings.Options(self.caller)
        self.queue_size = settings.queue_size(queue_size, self.options)
        self.who = identity.of_caller(self.caller)
        self.plan = Plan(sql, self.caller["standard_strings"] == "on")
        if params is not None and len(self.plan.kinds) > 1:
            raise Refusal("parameters go with a single statement", "0A000")
        self.sql = sql
        self.params = params
        self.settings = settings.travelling(
            self.caller["search_path"], self.who.own_login, self.caller["role_oid"]
        )
        self.settings.update(self.plan.modes)
        self.label = _checked_label(label)
        self.keeps_rows = keeps_rows
        self.detached = detached
        self.cookie = 0
        self.lock_key = 0
        # Is the job in the registry under this cookie? Nobody knows that yet where a worker that was asked, whose pid
        # this is, has not answered.
        self.registered = False
        self.unanswered = 0


def launch(
    sql: str | None,
    queue_size: int | None = 0,
    label: str | None = None,
    params: list[str | None] | None = None,
    *,
    keeps_rows: bool = True,
    detached: bool = False,
) -> session.TrackedJob | None:
    """Start a job, or queue it where the session wants that, and return it; None for a null SQL.

    Raises 22023 for a bad size or setting, 22001 for a label, 53400 at a limit, 53300 without a
    connection, 08001 when the worker's login is refused, 25006 on a standby.
    """
    if sql is None:
        return None
    request = Request(sql, queue_size, label, params, keeps_rows, detached)
    try:
        pid: int = db.privileged(lambda: _start(request))
    except BaseException:
        db.privileged(lambda: _take_back(request))
        raise
    job = session.TrackedJob(
        request.cookie, request.lock_key, pid, request.who.role, request.label, keeps_rows
    )
    registry.track(job)
    stats.launched(job.cookie)
    return job


def launch_params(
    sql: str | None, params: str | None, label: str | None
) -> session.TrackedJob | None:
    """Launch one statement with values for $1, $2 ... from a JSON array.

    Raises 22023 when params is no array, 0A000 for more than one statement, and as `launch`.
    """
    return launch(sql, 0, label, parameters(params))


def parameters(text: str | None) -> list[str | None] | None:
    """The elements of a JSON array as text; None for none. Raises 22023 when it is something else."""
    if text is None:
        return None
    if db.value("select pg_catalog.jsonb_typeof($1)", ("jsonb",), (text,)) != "array":
        raise bad_value(
            "the parameters must be a JSON array", hint="For example: '[1, \"two\", null]'."
        )
    found: list[str | None] = db.value(
        "select array(select pg_catalog.jsonb_array_elements_text($1))", ("jsonb",), (text,)
    )
    return found


def _checked_label(label: str | None) -> str | None:
    """A label has at most 64 bytes; an empty one is none."""
    length = len(label.encode()) if label else 0
    if length > LONGEST_LABEL:
        raise Refusal(
            "label too long",
            "22001",
            detail=f"Label length {length} exceeds maximum of {LONGEST_LABEL} bytes.",
        )
    return label or None


def _start(request: Request) -> int:
    """Hand the request to a worker. Returns its pid, or 0 when the job is queued. Inside the door."""
    session_user = request.caller["session_user"]
    if session.remembered("login") != session_user:
        link.drop_strangers(session.remember("login", session_user))
    pids: list[int] = []

    def hand_over(to: link.Link) -> None:
        pids[:] = [to.pid if _register(to, request) else 0]

    try:
        link.over(request.who, hand_over)
    except db.ServerError as error:
        if db.sqlstate_of(error) == LIMIT_REACHED:
            # The next one shall find room.
            overdue.look()
        raise Refusal(
            db.server_message(error), db.sqlstate_of(error), **db.server_fields(error)
        ) from None
    if not pids[0]:
        link.lose_count()
        queue.start_waiting()
    return pids[0]


def _register(to: link.Link, request: Request) -> bool:
    """Have the worker put the job into the registry, and begin with it. False: it is queued."""
    # A new one for each try: a link that is lost may have registered the job all the same.
    _withdraw(to, request)
    request.cookie = random_cookie()
    queues = request.options.when_full == "queue"
    names, values = list(request.settings), list(request.settings.values())
    arguments = _arguments(request, names if queues else None, values if queues else None)
    query = (
        f"select pgbackground.register({', '.join(map(db.literal, arguments))})::pg_catalog.text"
    )
    state, key, timeout_ms = handover.fields(_answer(to, request, query))
    if state == "unfit":
        raise Gone
    request.registered = True
    if state == "queued":
        return False
    request.lock_key = int(key)
    limits = handover.Limits(int(timeout_ms or 0), request.settings.get("statement_timeout"))
    command = handover.text(request.sql, (request.cookie, names, values, limits.clock_ms > 0))
    handover.send(to, request.lock_key, command, limits)
    return True


def _answer(to: link.Link, request: Request, query: str) -> list[str | None]:
    """What the worker says of the registration. When nothing is heard of it, the job may be registered all the same."""
    try:
        return to.ask(query)
    except Gone:
        request.unanswered = to.pid
        raise
    except db.ServerError as error:
        if db.sqlstate_of(error) == db.CANCELED or link.is_connection_loss(error):
            request.unanswered = to.pid
        raise


def _take_back(request: Request) -> None:
    """A launch that fails leaves no job behind. Inside the door."""
    if request.registered or request.unanswered:
        link.attempt(lambda: link.over(request.who, lambda to: _withdraw(to, request)))


def _withdraw(to: link.Link, request: Request) -> None:
    """Cancel what has been registered, or may have been by a worker that is no longer heard of."""
    if not (request.registered or request.unanswered):
        return
    for _ in range(ENDINGS if request.unanswered else 0):
        if not db.value(_IS_ALIVE, ("int4",), (request.unanswered,)):
            break
        db.sleep(1)
    request.registered = False
    request.unanswered = 0
    try:
        to.ask(f"select pgbackground.request(0, {request.cookie}, 'cancel')::pg_catalog.text")
        to.ask(f"select pgbackground.signal({request.cookie}, false)::pg_catalog.text")
    except db.ServerError as error:
        if db.sqlstate_of(error) != UNKNOWN:
            raise


def _arguments(
    request: Request, names: list[str] | None, values: list[str] | None
) -> tuple[Any, ...]:
    """What register() asks for."""
    plan, options = request.plan, request.options
    return (
        request.cookie,
        request.caller["pid"],
        request.label,
        request.sql,
        plan.statements,
        plan.kinds,
        plan.tag,
        request.params,
        request.queue_size,
        plan.mode,
        request.keeps_rows,
        request.detached,
        options.max_workers,
        options.worker_timeout_ms,
        options.when_full == "queue",
        names,
        values,
        link.has_room(options.max_workers),
    )


def handle(job: session.TrackedJob | None) -> tuple[int, int] | None:
    """The columns of pg_background_handle."""
    return (job.pid, job.cookie) if job else None
