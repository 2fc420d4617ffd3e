"""cron.sql: programs that were written for pg_cron find its functions and views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.schedule.cron_names import NEVER, install_cron, said
from tests.integration.schedule.schedules import jobs, run_now, schedule, seen
from tests.integration.session import Session


@pytest.fixture(autouse=True)
def cron(admin: Session, tmp_path: Path) -> None:
    """Install cron.sql into the test's database."""
    install_cron(admin, tmp_path)


def job(session: Session, name: str) -> dict[str, Any]:
    """Read a row of cron.job; {} where there is none."""
    with session.connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("select * from cron.job where jobname = %s", [name])
        return cursor.fetchone() or {}


def runs(session: Session, name: str) -> list[dict[str, Any]]:
    """Read the runs of a job, the first one first."""
    with session.connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "select d.* from cron.job_run_details d join cron.job j using (jobid) where jobname = %s"
            " order by start_time nulls last",
            [name],
        )
        return cursor.fetchall()


def run(session: Session, name: str, command: str) -> dict[str, Any]:
    """Make a job, run it now, and return how it ended."""
    session.execute("select cron.schedule(%s, %s, %s)", [name, NEVER, command])
    session.wait(run_now(session, name))
    return runs(session, name)[-1]


def test_a_job_is_seen_as_pg_cron_shows_it(launcher: Session, app: str) -> None:
    number = launcher.value("select cron.schedule('nightly', '0 2 * * *', 'vacuum')")
    assert job(launcher, "nightly") == {
        "jobid": number, "schedule": "0 2 * * *", "command": "vacuum", "nodename": "localhost",
        "nodeport": int(launcher.value("show port")), "database": launcher.connection.info.dbname,
        "username": app, "active": True, "jobname": "nightly",
    }  # fmt: skip


def test_a_name_of_the_same_user_is_replaced_and_stays_active_or_not(launcher: Session) -> None:
    number = launcher.value("select cron.schedule('job', '0 2 * * *', 'select 1')")
    launcher.execute("select cron.alter_job(%s, active => false)", [number])
    assert launcher.value("select cron.schedule('job', '0 3 * * *', 'select 2')") == number
    launcher.execute(
        "select cron.schedule_in_database('job', '0 4 * * *', 'select 3', current_database(), active => true)"
    )
    found = job(launcher, "job")
    assert (found["schedule"], found["command"], found["active"]) == (
        "0 4 * * *",
        "select 3",
        False,
    )


def test_a_job_without_a_name_is_a_new_one_each_time(launcher: Session) -> None:
    first = launcher.value("select cron.schedule('0 2 * * *', 'select 1')")
    second = launcher.value("select cron.schedule('0 2 * * *', 'select 1')")
    assert launcher.rows("select jobid, jobname from cron.job order by jobid") == sorted(
        [(first, None), (second, None)]
    )
    assert launcher.value("select cron.unschedule(%s)", [first]) is True
    assert launcher.rows("select jobid from cron.job") == [(second,)]


def test_a_job_runs_and_says_so(launcher: Session, app: str) -> None:
    number = launcher.value("select cron.schedule('job', '1 second', 'select 7')")
    eventually(lambda: [r for r in runs(launcher, "job") if r["status"] == "succeeded"])
    launcher.execute("select cron.unschedule('job')")
    done = launcher.rows(
        "select database, username, command, return_message, start_time <= end_time, job_pid > 0"
        " from cron.job_run_details where jobid = %s order by start_time limit 1",
        [number],
    )
    database = launcher.connection.info.dbname
    assert done == [(database, app, "select 7", "1 row", True, True)]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("select 1", "1 row"),
        ("select generate_series(1, 3)", "3 rows"),
        ("", "0 rows"),
        ("insert into public.kept values (1), (2)", "INSERT 0 2"),
        ("insert into public.kept values (1) returning n", "1 row"),
        ("update public.kept set n = 1", "UPDATE 0"),
        ("select 1 as n into temp other", "SELECT 1"),
        ("create temp table other as select generate_series(1, 4)", "SELECT 4"),
        ("vacuum public.kept", "VACUUM"),
        ("do $$begin end$$", "DO"),
        ("select 1; insert into public.kept values (1)", "INSERT 0 1"),
        ("show search_path", "1 row"),
    ],
)
def test_a_success_tells_its_rows_or_its_tag(launcher: Session, command: str, message: str) -> None:
    launcher.execute("create table public.kept (n int)")
    done = run(launcher, "job", command)
    assert (done["status"], done["return_message"]) == ("succeeded", message)
    # pg_cron throws the rows away.
    assert launcher.value("select count(*) from pgbackground.visible_rows") == 0


def test_a_failure_tells_its_error(launcher: Session) -> None:
    done = run(launcher, "job", "select 1 / 0")
    assert (done["status"], done["return_message"]) == ("failed", "ERROR:  division by zero\n")
    text = "do $$begin raise exception 'boo' using detail = 'why', hint = 'cure'; end$$"
    done = run(launcher, "other", text)
    assert done["return_message"] == "ERROR:  boo\nDETAIL:  why\nHINT:  cure\n"


def test_a_run_is_starting_running_and_failed_when_it_is_canceled(
    launcher: Session, gate: Gate
) -> None:
    launcher.execute("select cron.schedule('job', %s, %s)", [NEVER, gate.sql])
    first = run_now(launcher, "job")
    pid = gate.arrived()[0]
    second = run_now(launcher, "job")
    found = [(r["status"], r["job_pid"], r["return_message"]) for r in runs(launcher, "job")]
    assert found == [("running", pid, None), ("starting", None, None)]
    launcher.execute("select pg_cancel_backend(%s)", [pid])
    launcher.wait(first)
    failed = runs(launcher, "job")[0]
    message = "ERROR:  canceling statement due to user request\n"
    assert (failed["status"], failed["return_message"]) == ("failed", message)
    gate.open()
    assert launcher.finished(second).state == "stopped"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid schedule: it is empty"),
        ("* * * *", "invalid schedule: the field day of week is missing"),
        ("60 * * * *", 'invalid minute in schedule: "60" is out of range'),
        ("60 seconds", 'invalid number of seconds in schedule: "60" is not a number from 1 to 59'),
        # These three pg_cron takes, and never runs them, or every day.
        ("5-1 * * * *", 'invalid minute in schedule: the range "5-1" is empty'),
        (
            "* * * * * and more",
            'invalid schedule: text after the fifth field (day of week): "and more"',
        ),
        ("* * * * 6#1", 'invalid day of week in schedule: "6#1" means nothing there'),
    ],
)
def test_a_bad_schedule_is_refused_in_pg_crons_words(
    launcher: Session, text: str, why: str
) -> None:
    launcher.execute("select cron.schedule('job', '0 2 * * *', 'select 1')")
    for call in (
        f"select cron.schedule('{text}', 'select 1')",
        f"select cron.schedule('job', '{text}', 'select 1')",
        f"select cron.alter_job((select jobid from cron.job), schedule => '{text}')",
    ):
        assert said(launcher, call) == f"22023 invalid schedule: {text}"
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        launcher.execute("select cron.schedule(%s, 'select 1')", [text])
    assert caught.value.diag.message_detail == why
    assert job(launcher, "job")["schedule"] == "0 2 * * *"


def test_what_pg_cron_never_runs_is_due_here(launcher: Session) -> None:
    for name, text in (("year", "@yearly"), ("weekend", "0 0 * * fri-sun")):
        launcher.execute("select cron.schedule(%s, %s, 'select 1')", [name, text])
    days = launcher.rows(
        "select name, to_char(next_run at time zone 'UTC', 'DD.MM. HH24:MI') from background.pg_background_schedules"
        " order by name"
    )
    assert days[1] == ("year", "01.01. 00:00")
    fields = "select n from background.pg_background_next_runs('0 0 * * 0,5,6', 'GMT', 1) n"
    assert seen(launcher, "weekend")["next_run"] == launcher.value(fields)


def test_schedules_are_in_the_zone_of_cron_timezone(launcher: Session) -> None:
    launcher.execute("set timezone = 'America/New_York'")
    launcher.execute("select cron.schedule('job', '0 2 * * *', 'select 1')")
    assert seen(launcher, "job")["timezone"] == "GMT"


def test_a_zone_may_be_chosen_where_the_library_is_not_loaded(
    launcher: Session, admin: Session
) -> None:
    if admin.value("select current_setting('cron.database_name', true)") is not None:
        pytest.skip("the server has pg_cron preloaded, and the setting is the server's")
    launcher.execute("set cron.timezone = 'Europe/Berlin'")
    launcher.execute("select cron.schedule('job', '0 2 * * *', 'select 1')")
    assert seen(launcher, "job")["timezone"] == "Europe/Berlin"
    launcher.execute("set cron.timezone = 'Atlantis'")
    message = said(launcher, "select cron.schedule('job', '0 2 * * *', 'select 1')")
    assert message == '22023 time zone "Atlantis" is not known'


def test_users_see_and_change_their_own_jobs_only(
    launcher: Session, connect: Callable[..., Session], roles: Roles, admin: Session, app: str
) -> None:
    mine = launcher.value("select cron.schedule('job', '0 2 * * *', 'select 1')")
    launcher.wait(run_now(launcher, "job"))
    other = connect(roles.create("other"))
    theirs = other.value("select cron.schedule('job', '0 2 * * *', 'select 2')")
    assert launcher.rows("select jobid from cron.job") == [(mine,)]
    assert other.rows("select jobid from cron.job") == [(theirs,)]
    assert other.rows("select * from cron.job_run_details") == []
    assert admin.value("select count(*) from cron.job") == 2
    assert admin.value("select username from cron.job_run_details") == app
    refusal = f"XX000 could not find valid entry for job {mine}"
    assert said(other, f"select cron.unschedule({mine})") == refusal
    refusal = f"XX000 Job {mine} does not exist or you don't own it"
    assert said(other, f"select cron.alter_job({mine}, active => false)") == refusal
    # By a name, only one's own, superusers too; by its id a superuser anybody's.
    refusal = "XX000 could not find valid entry for job 'job'"
    assert said(admin, "select cron.unschedule('job')") == refusal
    assert admin.value("select cron.unschedule(%s)", [mine]) is True
    assert other.value("select cron.unschedule('job')") is True
    assert launcher.value("select count(*) from cron.job_run_details") == 1


def test_whoever_has_the_rights_of_a_role_does_not_see_its_jobs_here(
    launcher: Session, connect: Callable[..., Session], roles: Roles, app: str
) -> None:
    """As in pg_cron; pg_background_schedules shows them."""
    launcher.execute("select cron.schedule('job', '0 2 * * *', 'select 1')")
    member = roles.create("member")
    roles.grant(app, member)
    session = connect(member)
    assert session.rows("select * from cron.job") == []
    assert seen(session, "job")["role"] == app


def test_a_stranger_is_kept_out(connect: Callable[..., Session], roles: Roles) -> None:
    stranger = connect(roles.create("stranger", member=False))
    refusal = "42501 permission denied for schema cron"
    assert said(stranger, "select cron.schedule('* * * * *', 'select 1')") == refusal
    assert said(stranger, "select * from cron.job") == refusal


def test_a_superuser_schedules_for_another_user(
    admin: Session, launcher: Session, roles: Roles, app: str
) -> None:
    other = roles.create("other")
    text = "create table public.ran as select session_user as login, current_user as role"
    number = admin.value(
        "select cron.schedule_in_database('job', %s, %s, current_database(), %s, false)",
        [NEVER, text, app],
    )
    assert (job(launcher, "job")["username"], job(launcher, "job")["active"]) == (app, False)
    launcher.wait(run_now(launcher, "job"))
    assert launcher.rows("select login, role from public.ran") == [(app, app)]
    admin.execute("select cron.alter_job(%s, username => %s)", [number, other])
    assert job(launcher, "job") == {}
    assert (job(admin, "job")["username"], job(admin, "job")["jobid"]) == (other, number)
    taken = f'23505 pg_background: role "{other}" has a schedule "job" already'
    second = launcher.value("select cron.schedule('job', %s, 'select 2')", [NEVER])
    assert said(admin, f"select cron.alter_job({second}, username => '{other}')") == taken
    assert job(launcher, "job")["command"] == "select 2"
    refusal = "XX000 must be superuser to create a job for another role"
    call = f"select cron.schedule_in_database('x', '{NEVER}', 'select 1', current_database(), '{other}')"
    assert said(launcher, call) == refusal
    mine = launcher.value("select cron.schedule(%s, 'select 1')", [NEVER])
    refusal = "XX000 must be superuser to alter username"
    assert said(launcher, f"select cron.alter_job({mine}, username => '{other}')") == refusal


def test_internals_refuse_what_the_functions_refuse(
    launcher: Session, admin: Session, roles: Roles
) -> None:
    other = roles.create("other")
    call = f"select pgbackground.keep_cron_job(null, 'x', '{NEVER}', 'select 1', '{other}', true)"
    assert said(launcher, call).startswith("42501")
    number = admin.value("select cron.schedule(%s, 'select 1')", [NEVER])
    call = f"select pgbackground.keep_cron_job({number}, null, null, 'select 2', null, null)"
    assert launcher.value(call) is None
    assert launcher.value("select pgbackground.forget_cron_job(%s)", [number]) is False
    assert admin.value("select command from cron.job") == "select 1"


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        ("schedule(null, '* * * * *', 'select 1')", "XX000 job_name can not be NULL"),
        ("schedule('a', null, 'select 1')", "XX000 schedule can not be NULL"),
        ("schedule('* * * * *', null)", "XX000 command can not be NULL"),
        ("schedule('', '* * * * *', 'select 1')", "22023 name must have 1 to 255 bytes"),
        ("unschedule('nothere')", "XX000 could not find valid entry for job 'nothere'"),
        ("unschedule(99999)", "XX000 could not find valid entry for job 99999"),
        (
            "alter_job(99999, active => true)",
            "XX000 Job 99999 does not exist or you don't own it",
        ),
        ("alter_job(2)", "XX000 no updates specified"),
        ("alter_job(null, active => true)", "XX000 job_id can not be NULL"),
        (
            "schedule_in_database('a', '* * * * *', 'select 1', 'nodb')",
            '3D000 database "nodb" does not exist',
        ),
    ],
)
def test_errors_are_pg_crons(launcher: Session, call: str, refusal: str) -> None:
    assert said(launcher, f"select cron.{call}") == refusal


def test_another_database_is_refused_with_the_way_out(launcher: Session) -> None:
    call = "select cron.schedule_in_database('a', '* * * * *', 'select 1', 'template1')"
    name = launcher.connection.info.dbname
    assert said(launcher, call) == f'0A000 jobs run in this database, "{name}", only'
    launcher.execute("select cron.schedule_in_database('a', '0 0 * * *', 'select 1', null)")


def test_a_user_that_cannot_log_in_is_refused(admin: Session, roles: Roles) -> None:
    role = roles.create("nolog")
    admin.execute(f"alter role {role} nologin")
    call = f"select cron.schedule_in_database('a', '* * * * *', 'x', current_database(), '{role}')"
    assert said(admin, call) == f'XX000 role "{role}" can not log in'
    call = "select cron.schedule_in_database('a', '* * * * *', 'x', current_database(), 'nobody')"
    assert said(admin, call) == 'XX000 role "nobody" does not exist'


def test_a_user_who_may_not_run_jobs_is_warned_of_and_his_runs_fail(
    admin: Session, roles: Roles
) -> None:
    role = roles.create("stranger", member=False)
    told: list[str] = []
    admin.connection.add_notice_handler(lambda said: told.append(said.message_hint or ""))
    number = admin.value(
        "select cron.schedule_in_database('a', '1 second', 'select 1', current_database(), %s)",
        [role],
    )
    assert told == [f"Its jobs fail until: grant pgbackground_role to {role};"]
    query = (
        "select count(*), bool_and(start_time between due_at and end_time) and count(*) = count(distinct start_time)"
        " from cron.job_run_details d join background.pg_background_jobs j on j.cookie = d.runid where d.jobid = %s"
        " and status = 'failed'"
    )
    eventually(lambda: admin.rows(query, [number])[0][0] >= 2)
    assert admin.rows(query, [number])[0][1] is True
    roles.grant("pgbackground_role", role)
    query = "select count(*) from cron.job_run_details where jobid = %s and status = 'succeeded'"
    eventually(lambda: admin.value(query, [number]) > 0)


def test_a_run_begins_with_the_settings_of_a_login(
    launcher: Session, admin: Session, app: str, db: Database
) -> None:
    """And not with those of the session that has made the job."""
    admin.execute(f"alter role {app} set search_path = public, other")
    admin.execute(f"alter role {app} in database {db.name} set statement_timeout = '7min'")
    admin.execute(f"alter database {db.name} set lock_timeout = '5min'")
    launcher.execute("set search_path = elsewhere")
    launcher.execute("set statement_timeout = '20s'")
    launcher.execute("set work_mem = '77MB'")
    launcher.execute(
        "select cron.schedule('job', %s, $$create table public.begun as select current_setting('search_path') as path,"
        " current_setting('statement_timeout') as stop, current_setting('lock_timeout') as lock,"
        " current_setting('work_mem') <> '77MB' as own$$)",
        [NEVER],
    )
    launcher.wait(run_now(launcher, "job"))
    found = launcher.rows("select path, stop, lock, own from public.begun")
    assert found == [("public, other", "7min", "5min", True)]


def test_schedules_of_our_own_are_there_and_keep_all_that_cron_does_not_know(
    launcher: Session,
) -> None:
    launcher.execute("set search_path = elsewhere")
    number = schedule(
        launcher, "ours", "0 2 * * *", "select 1", timezone="Europe/Berlin", overlap="skip",
        missed="all", options='{"attempts": 3}',
    )  # fmt: skip
    assert job(launcher, "ours")["jobid"] == number
    launcher.execute(
        "select cron.alter_job(%s, '0 3 * * *', 'select current_setting(''search_path'')')",
        [number],
    )
    row = seen(launcher, "ours")
    assert (row["schedule"], row["timezone"], row["overlap"], row["missed"]) == (
        "0 3 * * *", "Europe/Berlin", "skip", "all",
    )  # fmt: skip
    assert row["options"] == {"attempts": 3}
    ran = run_now(launcher, "ours")
    assert launcher.result(ran, "path text") == [("elsewhere",)]
    launcher.execute("select cron.schedule('ours', '0 4 * * *', 'select 2')")
    row = seen(launcher, "ours")
    assert (row["id"], row["timezone"], row["overlap"]) == (number, "GMT", "skip")


def test_altering_a_job_lets_its_run_go_on(launcher: Session, gate: Gate) -> None:
    number = launcher.value("select cron.schedule('job', %s, %s)", [NEVER, gate.sql])
    handle = run_now(launcher, "job")
    gate.arrived()
    launcher.execute("select cron.alter_job(%s, active => false)", [number])
    assert runs(launcher, "job")[0]["status"] == "running"
    gate.open()
    assert launcher.finished(handle).state == "stopped"
    assert seen(launcher, "job")["next_run"] is None
    launcher.execute("select cron.alter_job(%s, active => true)", [number])
    assert seen(launcher, "job")["next_run"] is not None


def test_what_a_text_says_of_its_transaction_goes_with_the_text(launcher: Session) -> None:
    text = "set transaction isolation level serializable; select current_setting('transaction_isolation')"
    number = launcher.value("select cron.schedule('job', %s, %s)", [NEVER, text])
    launcher.execute(
        "select cron.alter_job(%s, command => $$create table public.level as"
        " select current_setting('transaction_isolation') as level$$)",
        [number],
    )
    launcher.wait(run_now(launcher, "job"))
    assert launcher.value("select level from public.level") == "read committed"


def test_tidying_up_as_with_pg_cron_does_no_harm(launcher: Session) -> None:
    run(launcher, "job", "select 1")
    done = launcher.execute("delete from cron.job_run_details where end_time < now()")
    assert done.rowcount == 0
    assert len(runs(launcher, "job")) == 1


def test_a_superuser_may_change_the_table_and_nobody_else(admin: Session, app: str) -> None:
    admin.execute(
        "insert into cron.job (jobname, schedule, command, username) values ('job', %s, 'select 1', %s)",
        [NEVER, app],
    )
    assert job(admin, "job")["username"] == app
    admin.execute("update cron.job set active = false, command = 'select 2'")
    assert (job(admin, "job")["active"], job(admin, "job")["command"]) == (False, "select 2")
    assert said(admin, "update cron.job set jobname = 'x'").startswith("0A000")
    user = Session(admin.connection)
    user.execute(f"set role {app}")
    for statement in ("update cron.job set active = true", "delete from cron.job"):
        assert said(user, statement) == "42501 permission denied for view job"
    user.execute("reset role")
    admin.execute("delete from cron.job")
    assert admin.rows("select * from cron.job") == []


def test_runs_of_a_job_that_is_gone_stay(launcher: Session) -> None:
    run(launcher, "job", "select 1")
    launcher.execute("select cron.unschedule('job')")
    assert launcher.rows("select status, return_message from cron.job_run_details") == [
        ("succeeded", "1 row")
    ]
    assert jobs(launcher, "job") == []


def test_a_job_belongs_to_the_callers_transaction(connect: Callable[..., Session]) -> None:
    writer, reader = connect(autocommit=False), connect()
    writer.execute("select cron.schedule('job', '0 2 * * *', 'select 1')")
    assert job(reader, "job") == {}
    writer.connection.rollback()
    assert job(writer, "job") == {}
    writer.execute("select cron.schedule('job', '0 2 * * *', 'select 1')")
    writer.connection.commit()
    assert job(reader, "job")["active"] is True
