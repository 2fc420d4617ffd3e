"""import_cron: schedules made of the jobs of a real pg_cron."""

from __future__ import annotations

from pg_background import cron_jobs, db
from pg_background.errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Answer = tuple[int, str, str, str, str, str, str | None]

# Who may write to cron.job decides what is run as whom.
_TABLE = (
    "select pg_catalog.to_regprocedure('pgbackground.remove_cron()') is not null as is_ours,"
    " c.relkind = 'r' and t.rolsuper and s.rolsuper as is_trusted"
    " from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    " join pg_catalog.pg_roles t on t.oid = c.relowner join pg_catalog.pg_roles s on s.oid = n.nspowner"
    " where n.nspname = 'cron' and c.relname = 'job'"
)
_JOBS = (
    "select pg_catalog.to_jsonb(j)::pg_catalog.text as job from only cron.job j order by j.jobid"
)
_PLACE = (
    "select pg_catalog.current_database()::pg_catalog.text as database,"
    " pg_catalog.current_setting('port') as port, pg_catalog.current_setting('cron.host', true) as host,"
    " coalesce(pg_catalog.current_setting('cron.use_background_workers', true), 'off') = 'on' as without_host"
)
_ROLE = (
    "select r.rolcanlogin, pg_catalog.pg_has_role(r.oid, 'pgbackground_role', 'USAGE') as may_run"
    " from pg_catalog.pg_roles r where r.rolname = $1"
)
THIS_HOST = ("", "localhost", "127.0.0.1", "::1")


def import_jobs() -> Iterator[Answer]:
    """Import all jobs in this transaction, and tell of each: id, name, role, schedule, zone, outcome, detail.

    Raises 42501, 42P01, 55000; 22023 for a cron.timezone that is no zone.
    """
    _check_table()
    import json

    timezone = cron_jobs.named_zone()
    place = db.rows(_PLACE)[0]
    jobs = [json.loads(row["job"]) for row in db.rows(_JOBS)]
    # All of them, whether or not the caller wants to read of all.
    return iter([_import(job, place, timezone) for job in jobs])


def _check_table() -> None:
    """Raise unless the caller is a superuser and cron.job is a table that only superusers can have made."""
    if not cron_jobs.is_superuser():
        raise Refusal("must be superuser to import the jobs of pg_cron", "42501")
    table = db.row(_TABLE)
    if table is None:
        raise Refusal(
            "there is no table cron.job in this database",
            "42P01",
            hint="pg_cron keeps its jobs in one database, that of cron.database_name.",
        )
    if table["is_ours"]:
        raise Refusal(
            "cron.job shows the schedules of this product: there is nothing to import", "55000"
        )
    if not table["is_trusted"]:
        raise Refusal(
            "cron.job is no table of a superuser's in a schema of a superuser's",
            "42501",
            hint="Its rows say what is run as whom. Look who has made it and what it holds, and give"
            " both to a superuser.",
        )


def _import(job: dict[str, Any], place: dict[str, Any], timezone: str) -> Answer:
    name = job.get("jobname") or f"cron job {job['jobid']}"
    outcome, detail = _outcome(job, name, place, timezone)
    return job["jobid"], name, job["username"], job["schedule"], timezone, outcome, detail


def _outcome(
    job: dict[str, Any], name: str, place: dict[str, Any], timezone: str
) -> tuple[str, str | None]:
    """What becomes of one job; what is wrong with it concerns no other."""
    role = db.row(_ROLE, ("name",), (job["username"],))
    elsewhere = _elsewhere(job, name, place, timezone)
    if elsewhere:
        return "passed over", elsewhere
    if role is None:
        return "passed over", "Its role does not exist any longer."
    if cron_jobs.find_named(job["username"], name):
        return "exists", "The role has a schedule of that name, which stays as it is."
    try:
        cron_jobs.make(
            name, job["schedule"], job["command"], job["username"], _is_active(job), timezone
        )
    except Refusal as refusal:
        return "refused", " ".join(filter(None, (f"{refusal}.", refusal.fields.get("hint"))))
    except db.ServerError as error:
        if db.sqlstate_of(error) == db.CANCELED:
            raise
        return "refused", db.server_message(error)
    return "imported", " ".join(_notes(job, role)) or None


def _is_active(job: dict[str, Any]) -> bool:
    active: bool = job.get("active", True)
    return active


def _elsewhere(job: dict[str, Any], name: str, place: dict[str, Any], timezone: str) -> str | None:
    """Where a job is run, if that is not here, and how to make a schedule of it there."""
    arguments = ", ".join(map(db.literal, (name, job["schedule"], job["command"], timezone)))
    call = f"pg_background_schedule({arguments}, active => {str(_is_active(job)).lower()})"
    if job["database"] != place["database"]:
        return f"It is of database {job['database']}. There, as {job['username']}: select {call};"
    here = (*THIS_HOST, place["host"])
    if place["without_host"] or (
        (job["nodename"] in here or job["nodename"].startswith("/"))
        and str(job["nodeport"]) == place["port"]
    ):
        return None
    return (
        f"It is run on server {job['nodename']}, port {job['nodeport']}; this one has port {place['port']}."
        f" Where it is to run, as {job['username']}: select {call};"
    )


def _notes(job: dict[str, Any], role: dict[str, Any]) -> Iterator[str]:
    """What the DBA should know of a schedule that was made."""
    text = job["schedule"].lower().split()
    if text[0] in ("@yearly", "@annually"):
        yield "pg_cron never ran it: here it runs on 1 January."
    if any("-sun" in word for word in text[4:5]):
        yield "pg_cron never ran it on the days of a range up to sun: here it does."
    user = db.identifier(job["username"])
    if not role["may_run"]:
        yield f"Its jobs fail until: grant pgbackground_role to {user};"
    if not role["rolcanlogin"]:
        yield f"Its jobs fail until: alter role {user} login;"
