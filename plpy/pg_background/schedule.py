"""Schedules: schedule, unschedule, run_now, next_runs. Who makes one is whose jobs it queues."""

from __future__ import annotations

from pg_background import cron, db, due, identity, registry, zone
from pg_background.cookie import random_cookie
from pg_background.enqueue import Options, one_of, tell_workers
from pg_background.errors import Refusal, bad_value
from pg_background.launch import Request, parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

LONGEST_NAME = 255
LONGEST_LABEL = 64
OVERLAPS = ("one", "skip", "all")
MISSED = ("last", "skip", "all")
# enqueue's arguments that a schedule has, with their defaults and the JSON types that they take.
OPTIONS: dict[str, tuple[Any, type]] = {
    "attempts": (1, int),
    "backoff": ("10 s", str),
    "keeps_rows": (True, bool),
    "label": (None, str),
    "notify": (None, str),
    "params": (None, list),
    "priority": (0, int),
    "retry_on": ("transient", str),
    "timeout_ms": (0, int),
}
TYPE_NAMES = {int: "a whole number", str: "a string", bool: "true or false", list: "an array"}
NOT_FOR_SCHEDULES = {
    "run_at": "The schedule says when.",
    "after": "The schedule says when.",
    "after_state": "The schedule says when.",
    "key": "overlap => 'one' keeps a schedule's jobs apart.",
}
_NOW = "select pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp()))::pg_catalog.int8"


def schedule(name: str | None, text: str | None, sql: str | None, given: Mapping[str, Any]) -> int:
    """Make a schedule, or replace the one of the same role and name, in this transaction. Returns its id.

    Raises 22023 naming the argument, and as `enqueue`.
    """
    timing, request, options = planned(name, text, sql, given)
    made: int = db.privileged(lambda: store(timing, request, options))
    return made


def planned(
    name: str | None, text: str | None, sql: str | None, given: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Request, Any]:
    """What `store` takes of a schedule whose jobs are the caller's own. Raises as `schedule`."""
    if not name or len(name.encode()) > LONGEST_NAME:
        raise bad_value(f"name must have 1 to {LONGEST_NAME} bytes")
    if sql is None:
        raise bad_value("sql must not be null")
    if text is None:
        raise bad_value("schedule must not be null", cron.FORMS_HINT)
    place = zone.checked(given["timezone"])
    one_of("overlap", given["overlap"], OVERLAPS)
    one_of("missed", given["missed"], MISSED)
    _check_intervals(given["max_late"], given["jitter"])
    if given["active"] is None:
        raise bad_value("active must not be null")
    parsed = cron.parse(text)
    next_run = parsed.next_after(db.value(_NOW), zone.named(place))
    if next_run is None and parsed.kind != "reboot":
        raise bad_value(
            f'invalid schedule: "{text}" never comes', "Times in the past do not come again."
        )
    options = _options(given["options"])
    label = options.label or (name if len(name.encode()) <= LONGEST_LABEL else None)
    request = Request(sql, 0, label, parameters(options.params), options.keeps_rows, False)
    timing = (
        name, text, place, parsed.kind == "reboot", given["active"], given["overlap"], given["missed"],
        given["max_late"], given["jitter"], given["options"], next_run if given["active"] else None,
    )  # fmt: skip
    return timing, request, options


_INTERVALS = (
    "select coalesce(extract(epoch from $1) > 0, true) and coalesce(extract(epoch from $1) < 3e9, true) as max_late,"
    " coalesce(extract(epoch from $2) between 0 and 2592000, false) as jitter"
)


def _check_intervals(max_late: str | None, jitter: str | None) -> None:
    found = db.privileged(
        lambda: db.rows(_INTERVALS, ("interval", "interval"), (max_late, jitter))
    )[0]
    if not found["max_late"]:
        raise bad_value("max_late must be an interval of more than 0", "For example: '1 hour'.")
    if not found["jitter"]:
        raise bad_value("jitter must be an interval from 0 to 30 days", "For example: '30 s'.")


def _options(text: str | None) -> Any:
    """The arguments of enqueue that a schedule's jobs get, checked. Raises 22023."""
    import json

    chosen = json.loads(text) if text is not None else None
    if not isinstance(chosen, dict):
        raise bad_value("options must be a JSON object", """For example: '{"attempts": 3}'.""")
    given = {name: default for name, (default, _) in OPTIONS.items()}
    given["after_state"] = "stopped"
    for name, value in chosen.items():
        given[name] = _option(name, value)
    if isinstance(given["params"], list):
        given["params"] = json.dumps(given["params"])
    try:
        return Options(given)
    except Refusal as refusal:
        raise _of_options(refusal) from None
    except db.ServerError as error:
        if db.sqlstate_of(error)[:2] != "22":
            raise
        raise bad_value(
            f"invalid options: backoff: {db.server_message(error)}", 'For example: "10 s".'
        ) from None


def _option(name: str, value: Any) -> Any:
    if name not in OPTIONS:
        raise bad_value(
            f'invalid options: "{name[:100]}" is none of a schedule',
            NOT_FOR_SCHEDULES.get(name) or f"Available: {', '.join(OPTIONS)}.",
        )
    default, expected = OPTIONS[name]
    if value is None and default is None:
        return None
    if type(value) is not expected:
        raise bad_value(f"invalid options: {name} must be {TYPE_NAMES[expected]}")
    return value


def _of_options(refusal: Refusal) -> Refusal:
    return Refusal(f"invalid options: {refusal}", refusal.sqlstate, **refusal.fields)


# A schedule that stays what it was keeps the time that it is due at, which may have come a moment ago.
_STORE = (
    "insert into pgbackground.schedule as s (name, schedule, timezone, is_reboot, active, overlap, missed, max_late,"
    " jitter, options, next_run, role, role_name, login, login_name, label, sql, statements, kinds, expected_tag,"
    " params, mode, keeps_rows, queue_size, timeout_ms, setting_names, setting_values, priority, attempts, backoff_ms,"
    " retry_on, notify)"
    " select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, pg_catalog.to_timestamp($11), r.oid, r.rolname, l.oid, l.rolname,"
    " $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27,"
    " pg_catalog.round(extract(epoch from $28) * 1000)::pg_catalog.int8, $29, $30"
    " from pg_catalog.pg_roles r, pg_catalog.pg_roles l where r.rolname = $12 and l.rolname = $13"
    " on conflict (home, role, name) do update set next_run = case when s.active and excluded.active"
    "   and s.schedule = excluded.schedule and s.timezone = excluded.timezone then s.next_run"
    "   else excluded.next_run end,"
    " booted_at = case when s.active and s.is_reboot then s.booted_at else excluded.booted_at end,"
    " retry_at = null, problem = null, role_name = excluded.role_name, login = excluded.login,"
    " login_name = excluded.login_name, schedule = excluded.schedule, timezone = excluded.timezone,"
    " is_reboot = excluded.is_reboot, active = excluded.active, overlap = excluded.overlap, missed = excluded.missed,"
    " max_late = excluded.max_late, jitter = excluded.jitter, options = excluded.options, label = excluded.label,"
    " sql = excluded.sql, statements = excluded.statements, kinds = excluded.kinds,"
    " expected_tag = excluded.expected_tag, params = excluded.params, mode = excluded.mode,"
    " keeps_rows = excluded.keeps_rows, queue_size = excluded.queue_size, timeout_ms = excluded.timeout_ms,"
    " setting_names = excluded.setting_names, setting_values = excluded.setting_values, priority = excluded.priority,"
    " attempts = excluded.attempts, backoff_ms = excluded.backoff_ms, retry_on = excluded.retry_on,"
    " notify = excluded.notify"
    " returning s.id"
)
_STORE_TYPES = (
    "text", "text", "text", "bool", "bool", "text", "text", "interval", "interval", "jsonb", "float8", "name", "name",
    "text", "text", "text[]", "text[]", "text", "text[]", "text", "bool", "int4", "int4", "text[]", "text[]", "int4",
    "int4", "interval", "text", "text",
)  # fmt: skip
_KNOW_ROLE = (
    "insert into pgbackground.role_row (role) select r.oid from pg_catalog.pg_roles r where r.rolname = $1"
    " on conflict do nothing"
)


def store(timing: tuple[Any, ...], request: Request, options: Any) -> int:
    """Write a schedule down, over one of the same role and name. Returns its id. Inside the door."""
    plan, who = request.plan, request.who
    arguments = (
        *timing, who.role, who.login, request.label, request.sql, plan.statements, plan.kinds, plan.tag, request.params,
        plan.mode, request.keeps_rows, request.queue_size, options.timeout_ms or request.options.worker_timeout_ms,
        list(request.settings), list(request.settings.values()), options.priority, options.attempts, options.backoff,
        options.retry_on, options.notify,
    )  # fmt: skip
    # Nobody who ticks has to wait for the first job that this role queues.
    db.rows(_KNOW_ROLE, ("name",), (who.role,))
    made: int = db.value(_STORE, _STORE_TYPES, arguments)
    tell_workers(identity.own())
    return made


def unschedule(name: str | None) -> bool:
    """Forget a schedule, in this transaction. False: there is none. Raises 42725."""
    found = _find(name)
    if found is None:
        return False
    gone: bool = db.privileged(lambda: _delete(found))
    return gone


def _delete(schedule_id: int) -> bool:
    return bool(
        db.value(
            "delete from pgbackground.schedule s where s.id = $1 returning s.id",
            ("int8",),
            (schedule_id,),
        )
    )


def _find(name: str | None) -> int | None:
    """The schedule of that name that the caller may change. Raises 42725."""
    caller = identity.role()
    found = db.privileged(
        lambda: db.rows(
            "select f.id, f.candidates from pgbackground.find_schedule($1, $2) f",
            ("text", "text"),
            (name, caller),
        )
    )[0]
    if found["candidates"] > 1:
        raise Refusal(
            f'several roles have a schedule "{name}"',
            "42725",
            hint="SET ROLE to the one whose schedule is meant.",
        )
    chosen: int | None = found["id"]
    return chosen


def run_now(name: str | None) -> tuple[int, int]:
    """Queue a job of a schedule in this transaction, and return its handle. Raises 42704, 42725, 55000."""
    found = _find(name)
    if found is None:
        raise Refusal(
            f'schedule "{name}" does not exist',
            "42704",
            hint="pg_background_schedules shows those that do.",
        )
    if db.value("select pg_catalog.pg_is_in_recovery()"):
        raise Refusal("jobs cannot be launched on a standby", "25006")
    run = db.privileged(lambda: _run(found))
    if run["is_new"]:
        return 0, run["cookie"]
    row = registry.look(run["cookie"])
    return (row["pid"] if row else 0), run["cookie"]


def _run(schedule_id: int) -> dict[str, Any]:
    run: dict[str, Any] = db.rows(
        "select r.cookie, r.is_new from pgbackground.run_schedule($1, $2) r",
        ("int8", "int8"),
        (schedule_id, random_cookie()),
    )[0]
    tell_workers(identity.own())
    return run


def next_runs(
    text: str | None, timezone: str | None, n: int | None, after: str | None
) -> Iterator[str]:
    """The next n times at which a schedule would be due. Raises 22023."""
    if text is None:
        raise bad_value("schedule must not be null", cron.FORMS_HINT)
    if n is None or not 0 <= n <= due.MOST_RUNS:
        raise bad_value(f"n must be a number from 0 to {due.MOST_RUNS}")
    start = db.value(_EPOCH, ("timestamptz",), (after,)) if after is not None else None
    if start is None:
        raise bad_value("after must be a time between 1900 and 9000")
    place = zone.named(zone.checked(timezone))
    found = due.next_runs(cron.parse(text), place, n, start)
    times: list[str] = db.value(
        "select array(select pg_catalog.to_timestamp(m.e)"
        " from pg_catalog.unnest($1) with ordinality m (e, n) order by m.n)",
        ("int8[]",),
        (found,),
    )
    return iter(times)


_EPOCH = (
    "select case when $1 operator(pg_catalog.>) '1900-01-01 00:00+00'::pg_catalog.timestamptz"
    " and $1 operator(pg_catalog.<) '9000-01-01 00:00+00'::pg_catalog.timestamptz"
    " then pg_catalog.floor(extract(epoch from $1))::pg_catalog.int8 end"
)
