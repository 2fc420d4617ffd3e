"""Schedules are made, seen, replaced and forgotten."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import eventually
from tests.integration.schedule.schedules import jobs, refused, run_now, schedule, seen
from tests.integration.session import Session

NEVER = "0 0 29 2 *"


def test_the_view_tells_what_was_asked_for(launcher: Session, app: str) -> None:
    number = schedule(
        launcher, "nightly", "0 2 * * 1-5", "select 1", timezone="europe/berlin", overlap="skip",
        missed="all", max_late="1 hour", jitter="30 s", options='{"attempts": 3}',
    )  # fmt: skip
    row = seen(launcher, "nightly")
    following = launcher.value(
        "select n from background.pg_background_next_runs('0 2 * * 1-5', 'Europe/Berlin', 1) n"
    )
    assert (row["id"], row["role"], row["schedule"], row["timezone"], row["sql"]) == (
        number, app, "0 2 * * 1-5", "Europe/Berlin", "select 1",
    )  # fmt: skip
    assert (row["overlap"], row["missed"], row["options"]) == ("skip", "all", {"attempts": 3})
    assert (row["active"], row["next_run"], row["problem"]) == (True, following, None)
    assert (row["last_run"], row["last_state"], row["last_cookie"]) == (None, None, None)
    assert (row["failures_in_a_row"], row["dropped"]) == (0, 0)


def test_a_schedule_belongs_to_the_callers_transaction(connect: Callable[..., Session]) -> None:
    writer, reader = connect(autocommit=False), connect()
    schedule(writer, "mine", NEVER, "select 1")
    assert seen(reader, "mine") == {}
    writer.connection.rollback()
    assert seen(writer, "mine") == {}
    schedule(writer, "mine", NEVER, "select 1")
    writer.connection.commit()
    assert seen(reader, "mine")["name"] == "mine"


def test_a_name_of_the_same_role_is_replaced_and_keeps_its_history(launcher: Session) -> None:
    first = schedule(launcher, "job", NEVER, "select 1")
    assert launcher.finished(run_now(launcher, "job")).state == "stopped"
    assert schedule(launcher, "job", "@hourly", "select 2", timezone="UTC") == first
    row = seen(launcher, "job")
    assert (row["schedule"], row["sql"], row["last_state"]) == ("@hourly", "select 2", "stopped")
    assert launcher.value("select count(*) from background.pg_background_schedules") == 1
    assert len(jobs(launcher, "job")) == 1


def test_what_is_due_already_is_not_lost_when_the_schedule_is_made_again(
    connect: Callable[..., Session], admin: Session
) -> None:
    writer = connect(autocommit=False)
    schedule(writer, "week", "@every 7 days", "select 1")
    writer.connection.commit()
    due = seen(writer, "week")["next_run"]
    # In one transaction, so that no clock sees it in between.
    admin.execute("begin; update pgbackground.schedule set next_run = next_run - interval '7 days'")
    admin.execute(f"set local role {writer.connection.info.user}")
    schedule(admin, "week", "@every 7 days", "select 2")
    assert (due - seen(admin, "week")["next_run"]).days == 7
    admin.execute("rollback")


def test_unschedule_says_whether_there_was_one(launcher: Session) -> None:
    schedule(launcher, "job", NEVER, "select 1")
    handle = run_now(launcher, "job")
    assert launcher.call("unschedule", "job") == [(True,)]
    assert launcher.call("unschedule", "job") == [(False,)]
    assert launcher.call("unschedule", None) == [(False,)]
    assert launcher.finished(handle).state == "stopped"


def test_an_inactive_schedule_is_due_at_no_time_and_can_be_run(launcher: Session) -> None:
    schedule(launcher, "job", "1 second", "select 1", active=False)
    assert (seen(launcher, "job")["active"], seen(launcher, "job")["next_run"]) == (False, None)
    handle = run_now(launcher, "job")
    assert launcher.finished(handle).state == "stopped"
    assert [job["cookie"] for job in jobs(launcher, "job")] == [handle.cookie]


def test_run_now_belongs_to_the_callers_transaction(
    connect: Callable[..., Session], observer: Session
) -> None:
    schedule(observer, "job", NEVER, "select 42 as answer")
    session = connect(autocommit=False)
    run_now(session, "job")
    session.connection.rollback()
    assert jobs(observer, "job") == []
    handle = run_now(session, "job")
    session.connection.commit()
    assert handle.pid == 0
    assert observer.result(handle, "answer int") == [(42,)]


def test_roles_see_and_change_their_own_schedules_only(
    launcher: Session, connect: Callable[..., Session], roles: Roles, admin: Session, app: str
) -> None:
    stranger, member = connect(roles.create("stranger")), connect(roles.create("member"))
    roles.grant(app, member.connection.info.user)
    schedule(launcher, "job", NEVER, "select current_user")
    assert seen(stranger, "job") == {}
    assert stranger.call("unschedule", "job") == [(False,)]
    with pytest.raises(psycopg.errors.UndefinedObject, match="does not exist"):
        run_now(stranger, "job")
    assert seen(member, "job")["role"] == seen(admin, "job")["role"] == app
    assert member.result(run_now(member, "job"), "who text") == [(app,)]
    # The same name of another role is another schedule.
    schedule(stranger, "job", NEVER, "select 2")
    assert seen(stranger, "job")["sql"] == "select 2"
    with pytest.raises(psycopg.DatabaseError, match="several roles") as caught:
        admin.call("unschedule", "job")
    assert caught.value.sqlstate == "42725"
    assert stranger.call("unschedule", "job") == [(True,)]
    assert member.call("unschedule", "job") == [(True,)]
    assert seen(launcher, "job") == {}


def test_without_a_grant_there_is_nothing_to_call_or_to_read(
    connect: Callable[..., Session], roles: Roles
) -> None:
    nobody = connect(roles.create("nobody", member=False))
    for query in (
        "select background.pg_background_tick()",
        "table background.pg_background_schedules",
        "select background.pg_background_schedule('a', '@daily', 'select 1')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            nobody.execute(query)


def test_inside_a_security_definer_function_the_schedule_is_its_owners(
    launcher: Session, connect: Callable[..., Session], roles: Roles, admin: Session
) -> None:
    owner = roles.create("owner")
    admin.execute(
        f"""
        create function public.plan() returns int8 language sql security definer as
            $$select background.pg_background_schedule('job', '{NEVER}', 'select session_user || current_user')$$;
        alter function public.plan() owner to {owner};
        """
    )
    launcher.execute("select public.plan()")
    session = connect(owner)
    assert seen(session, "job")["role"] == owner
    assert session.result(run_now(session, "job"), "who text") == [(owner + owner,)]
    assert seen(launcher, "job") == {}


def test_the_job_has_the_settings_of_whoever_made_the_schedule(launcher: Session) -> None:
    launcher.execute("set work_mem = '1234kB'; set search_path = public, background")
    schedule(
        launcher, "job", NEVER, "select current_setting('work_mem'), current_setting('search_path')"
    )
    launcher.execute("reset all")
    assert launcher.result(run_now(launcher, "job"), "a text, b text") == [
        ("1234kB", "public, background")
    ]


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("60 * * * *", {}, "invalid minute in schedule"),
        ("* 24 * * *", {}, "invalid hour in schedule"),
        ("* * 31 2 *", {}, "invalid day of month in schedule"),
        ("* * * 13 *", {}, "invalid month in schedule"),
        ("* * * * 1#1", {}, "invalid day of week in schedule"),
        ("* * * * 5-1", {}, "invalid day of week in schedule"),
        ("* * * * * x", {}, "text after the fifth field"),
        ("60 seconds", {}, "invalid number of seconds in schedule"),
        ("@every 2 moons", {}, "invalid interval in schedule"),
        ("2020-01-01 00:00", {}, "never comes"),
        ("@sometimes", {}, '"@sometimes" means nothing'),
        (None, {}, "schedule must not be null"),
        ("@daily", {"sql": None}, "sql must not be null"),
        ("@daily", {"timezone": "Europe/Atlantis"}, 'time zone "Europe/Atlantis" is not known'),
        ("@daily", {"timezone": "CEST"}, 'time zone "CEST" is not known'),
        ("@daily", {"timezone": "UTC+2"}, 'time zone "UTC+2" is not known'),
        ("@daily", {"overlap": "none"}, 'invalid value for overlap: "none"'),
        ("@daily", {"missed": None}, "invalid value for missed: null"),
        ("@daily", {"max_late": "-1 s"}, "max_late must be"),
        ("@daily", {"jitter": "31 days"}, "jitter must be"),
        ("@daily", {"jitter": None}, "jitter must be"),
        ("@daily", {"active": None}, "active must not be null"),
        ("@daily", {"options": "[]"}, "options must be a JSON object"),
        ("@daily", {"options": '{"colour": 1}'}, 'invalid options: "colour"'),
        ("@daily", {"options": '{"run_at": "now"}'}, 'invalid options: "run_at"'),
        ("@daily", {"options": '{"attempts": 0}'}, "invalid options: attempts"),
        ("@daily", {"options": '{"attempts": true}'}, "invalid options: attempts"),
        ("@daily", {"options": '{"priority": null}'}, "invalid options: priority"),
        ("@daily", {"options": '{"backoff": "soon"}'}, "invalid options: backoff"),
        (
            "@daily",
            {"options": '{"retry_on": "never"}'},
            "invalid options: invalid value for retry_on",
        ),
        ("@daily", {"options": '{"notify": ""}'}, "invalid options: notify"),
        ("@daily", {"options": '{"params": {}}'}, "invalid options: params"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(
    launcher: Session, text: str, arguments: dict[str, object], said: str
) -> None:
    message = refused(launcher, "job", text, **arguments)
    assert message.startswith("22023 pg_background: ")
    assert said in message
    assert seen(launcher, "job") == {}


@pytest.mark.parametrize("name", ["", None, "x" * 256])
def test_a_name_has_1_to_255_bytes(launcher: Session, name: str) -> None:
    assert "22023 pg_background: name must have" in refused(launcher, name, "@daily")


def test_a_session_without_a_zone_of_the_tz_database_has_to_name_one(launcher: Session) -> None:
    launcher.execute("set time zone 2")
    assert "timezone must be given" in refused(launcher, "job", "@daily")
    assert schedule(launcher, "job", "@daily", "select 1", timezone="UTC")


def test_next_runs_follows_summer_time(launcher: Session) -> None:
    found = launcher.rows(
        "select n at time zone 'UTC' from background.pg_background_next_runs("
        "'30 2 * * *', 'Europe/Berlin', 3, '2026-03-28 00:00+01') n"
    )
    assert [str(row[0]) for row in found] == [
        "2026-03-28 01:30:00",
        "2026-03-29 01:00:00",
        "2026-03-30 00:30:00",
    ]


def test_a_zone_that_is_also_an_abbreviation_has_its_summer_time(launcher: Session) -> None:
    found = launcher.rows(
        "select n at time zone 'UTC' from background.pg_background_next_runs("
        "'0 12 1 1,7 *', 'CET', 2, '2026-01-01 00:00+00') n"
    )
    assert [str(row[0]) for row in found] == ["2026-01-01 11:00:00", "2026-07-01 10:00:00"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("'* * * * *', n => -1", "n must be a number"),
        ("'* * * * *', n => 1001", "n must be a number"),
        ("'* * * * *', after => 'infinity'", "after must be a time"),
        ("'* * * * *', after => null", "after must be a time"),
        ("null", "schedule must not be null"),
        ("'x'", "field hour is missing"),
    ],
)
def test_next_runs_names_a_bad_argument(launcher: Session, arguments: str, said: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=said):
        launcher.execute(f"select background.pg_background_next_runs({arguments})")


def test_next_runs_ends_where_the_schedule_does(launcher: Session) -> None:
    query = "select count(*) from background.pg_background_next_runs('{}', 'UTC')"
    assert launcher.value(query.format("2099-01-01 12:00")) == 1
    assert launcher.value(query.format("@reboot")) == 0


def test_tick_cannot_be_held_by_an_open_transaction(launcher: Session) -> None:
    launcher.execute("begin")
    with pytest.raises(psycopg.errors.InvalidTransactionTermination):
        launcher.execute("call pgbackground.tick(null)")
    launcher.execute("rollback")


def test_an_open_transaction_that_has_ticked_holds_nothing(
    connect: Callable[..., Session], observer: Session
) -> None:
    schedule(observer, "job", "1 second", "select 1")
    session = connect(autocommit=False)
    session.execute("select background.pg_background_tick()")
    before = len(jobs(observer, "job"))
    eventually(lambda: len(jobs(observer, "job")) > before + 1)
    session.connection.rollback()
