"""Schedules as pg_cron has its jobs: by id or name, of a user, with the settings of a login."""

from __future__ import annotations

from pg_background import db, identity, schedule, zone
from pg_background.cookie import random_cookie
from pg_background.errors import Refusal
from pg_background.launch import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ZONE = "GMT"
# The history of pg_cron's jobs has no rows.
DEFAULTS = {
    "overlap": "one",
    "missed": "last",
    "max_late": None,
    "jitter": "0",
    "options": '{"keeps_rows": false}',
}

_ROW = (
    "select s.id, s.name, s.schedule, s.timezone, s.sql, s.active, s.overlap, s.missed, s.max_late, s.jitter,"
    " s.options, s.timeout_ms, s.setting_names, s.setting_values, r.rolname::pg_catalog.text as role,"
    " l.rolname::pg_catalog.text as login"
    " from pgbackground.schedule s left join pg_catalog.pg_roles r on r.oid = s.role"
    " left join pg_catalog.pg_roles l on l.oid = s.login where s.home = pgbackground.home()"
)
_GIVE = (
    "update pgbackground.schedule s set role = r.oid, role_name = r.rolname from pg_catalog.pg_roles r"
    " where s.id = $1 and r.rolname = $2 returning s.id"
)


def keep(
    job_id: int | None,
    name: str | None,
    text: str | None,
    command: str | None,
    username: str | None,
    active: bool | None,
) -> int | None:
    """Make a schedule or change one, in this transaction. Returns its id; None where the caller has none with that id.

    Raises 42501, 42704, 23505, and as `schedule`.
    """
    if username is not None and username != identity.role() and not is_superuser():
        raise Refusal("must be superuser to act for another role", "42501")
    if job_id is not None:
        return _change(job_id, text, command, username, active)
    return make(new_name() if name is None else name, text, command, username, active, named_zone())


def is_superuser() -> bool:
    """Is the caller one?"""
    found: bool = db.value(
        "select r.rolsuper from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) current_user"
    )
    return found


def named_zone() -> str:
    """The zone in which pg_cron's schedules are meant. Raises 22023."""
    # Where its library is loaded, users may not read the setting.
    setting = db.privileged(
        lambda: db.value("select pg_catalog.current_setting('cron.timezone', true)")
    )
    return zone.checked(setting or ZONE)


def new_name() -> str:
    """A name for a job without one."""
    return f"cron job {random_cookie()}"


def make(
    name: str,
    text: str | None,
    command: str | None,
    username: str | None,
    active: bool | None,
    timezone: str,
) -> int:
    """Make the schedule of a role and name; one that is there gets text and command, and stays active or not."""
    old = find_named(username or identity.role(), name)
    given = {
        **DEFAULTS,
        "active": active is not False,
        **(old or {}),
        "timezone": timezone,
    }
    planned = schedule.planned(name, text, command, given)
    request = planned[1]
    if username is not None and username != identity.role():
        request.who = _who(username)
    _begin_as_login(request)
    made: int = db.privileged(lambda: schedule.store(*planned))
    return made


def find_named(role: str, name: str) -> dict[str, Any] | None:
    """The schedule of a role and name."""
    found: dict[str, Any] | None = db.privileged(
        lambda: db.row(f"{_ROW} and r.rolname = $1 and s.name = $2", ("name", "text"), (role, name))
    )
    return found


def _find(job_id: int) -> dict[str, Any] | None:
    """The schedule of an id, where the caller may change it: it is his own, or he is a superuser."""
    caller, may_all = identity.role(), is_superuser()
    found: dict[str, Any] | None = db.privileged(
        lambda: db.row(
            f"{_ROW} and s.id = $1 and (r.rolname = $2 or $3)",
            ("int8", "name", "bool"),
            (job_id, caller, may_all),
        )
    )
    return found


def _change(
    job_id: int, text: str | None, command: str | None, username: str | None, active: bool | None
) -> int | None:
    """Change what is given of a schedule; what its jobs begin with stays as it is, unless its role is changed."""
    old = _find(job_id)
    if old is None:
        return None
    given = {**old, "active": old["active"] if active is None else active}
    sql = old["sql"] if command is None else command
    planned = schedule.planned(old["name"], old["schedule"] if text is None else text, sql, given)
    request = planned[1]
    request.options.worker_timeout_ms = old["timeout_ms"]
    if username is not None and username != old["role"]:
        request.who = _who(username)
        _begin_as_login(request)
    elif old["role"] is None or old["login"] is None:
        raise Refusal("the role of the job does not exist any longer", "42704")
    else:
        request.who = identity.Identity(old["login"], old["role"], own_login=False)
        _begin_as_before(request, old)

    def store() -> int:
        if request.who.role != old["role"]:
            _give(job_id, request.who.role, old["name"])
        return schedule.store(*planned)

    made: int = db.privileged(store)
    return made


def _who(username: str) -> identity.Identity:
    """Another role, whose jobs log in as itself. Raises 42704."""
    if not db.value(
        "select exists (select from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) $1)",
        ("name",),
        (username,),
    ):
        raise Refusal(f'role "{username}" does not exist', "42704")
    return identity.Identity(username, username, own_login=False)


def _begin_as_login(request: Any) -> None:
    """The jobs begin with what a login has, and not with what this session has set."""
    found = db.privileged(
        lambda: db.rows(
            "select s.names, s.settings from pg_catalog.pg_roles r, pgbackground.login_settings(r.oid) s"
            " where r.rolname = $1",
            ("name",),
            (request.who.login,),
        )
    )[0]
    request.settings = dict(zip(found["names"], found["settings"]))
    _plan_anew(request)


def _begin_as_before(request: Any, old: dict[str, Any]) -> None:
    """The jobs begin with what they have begun with, but for what the old text said itself."""
    request.settings = dict(zip(old["setting_names"], old["setting_values"]))
    for name in Plan(old["sql"], True).modes:
        request.settings.pop(name, None)
    _plan_anew(request)


def _plan_anew(request: Any) -> None:
    standard = request.settings.get("standard_conforming_strings", "on")
    request.plan = Plan(request.sql, standard == "on")
    request.settings.update(request.plan.modes)


def _give(job_id: int, role: str, name: str) -> None:
    """Another role's from here on. Raises 23505 where that has a schedule of that name."""
    try:
        db.rows(_GIVE, ("int8", "name"), (job_id, role))
    except db.ServerError as error:
        if db.sqlstate_of(error) != "23505":
            raise
        raise Refusal(f'role "{role}" has a schedule "{name}" already', "23505") from None


def forget(job_id: int) -> bool:
    """Forget a schedule, in this transaction. False: the caller has none with that id."""
    if _find(job_id) is None:
        return False
    return bool(
        db.privileged(
            lambda: db.value(
                "delete from pgbackground.schedule s where s.id = $1 returning s.id",
                ("int8",),
                (job_id,),
            )
        )
    )
