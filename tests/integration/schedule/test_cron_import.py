"""pg_background_import_cron: the jobs of pg_cron become schedules.

Of the real pg_cron where the server has it preloaded (the container images), in its own database; elsewhere of a table
like its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import eventually
from tests.integration.operations.removal import run
from tests.integration.schedule.cron_names import NEVER, file, install_cron, said
from tests.integration.schedule.schedules import jobs, run_now, seen
from tests.integration.session import Session
from tools.product import install
from tools.servers import Server

TABLE = """
    create schema cron;
    create sequence cron.jobid_seq;
    create table cron.job (
        jobid int8 primary key default nextval('cron.jobid_seq'), schedule text not null, command text not null,
        nodename text not null default 'localhost', nodeport int4 not null default current_setting('port')::int4,
        database text not null default current_database(), username text not null default current_user,
        active bool not null default true, jobname text, unique (jobname, username));
"""
IMPORT = "select name, outcome, detail from background.pg_background_import_cron() order by jobid"


class Cron(NamedTuple):
    """A database with pg_cron's table and the product."""

    admin: Session
    server: Server
    database: str

    def add(self, name: str | None, schedule: str, command: str, **columns: Any) -> int:
        """Write a job down, as pg_cron's functions do; it is none that pg_cron runs in the time of a test."""
        given = {"jobname": name, "schedule": schedule, "command": command, **columns}
        names, places = ", ".join(given), ", ".join(f"%({key})s" for key in given)
        found: int = self.admin.value(
            f"insert into cron.job ({names}) values ({places}) returning jobid", given
        )
        return found

    def connect(self, user: str) -> Session:
        """Open a session of a user; it ends with the test's database."""
        dsn = self.server.dsn(self.database, user, user)
        return Session(psycopg.connect(dsn, autocommit=True))


@pytest.fixture
def cron(server: Server, db: Database, tmp_path: Path) -> Iterator[Cron]:
    """Give the real one where it is at hand, else one that looks like it."""
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        row = connection.execute("select current_setting('cron.database_name', true)").fetchone()
    place = row[0] if row else None
    if place is None:
        admin = Session(db.connect())
        admin.execute(TABLE)
        yield Cron(admin, server, db.name)
        return
    with psycopg.connect(server.dsn(place), autocommit=True) as connection:
        connection.execute("create extension pg_cron")
        install(server.dsn(place))
        try:
            yield Cron(Session(connection), server, place)
        finally:
            connection.execute("rollback")
            connection.execute("drop extension pg_cron")
            connection.execute("delete from pgbackground.schedule")
            run(server, place, file(tmp_path, "uninstall.sql"))


def test_jobs_come_with_name_owner_zone_and_switch(cron: Cron, roles: Roles) -> None:
    app, other = roles.create("app"), roles.create("other")
    cron.add("nightly", NEVER, "select 1", username=app)
    cron.add("nightly", "@monthly", "select 2", username=other, active=False)
    nameless = cron.add(None, "0 0 29 2 *", "select 3", username=app)
    found = cron.admin.rows(
        "select name, role, schedule, timezone, outcome, detail"
        " from background.pg_background_import_cron() order by jobid"
    )
    assert found == [
        ("nightly", app, NEVER, "GMT", "imported", None),
        ("nightly", other, "@monthly", "GMT", "imported", None),
        (f"cron job {nameless}", app, "0 0 29 2 *", "GMT", "imported", None),
    ]
    made = cron.admin.rows(
        "select name, role, schedule, timezone, sql, active, overlap, missed"
        " from background.pg_background_schedules order by sql"
    )
    assert made == [
        ("nightly", app, NEVER, "GMT", "select 1", True, "one", "last"),
        ("nightly", other, "@monthly", "GMT", "select 2", False, "one", "last"),
        (f"cron job {nameless}", app, "0 0 29 2 *", "GMT", "select 3", True, "one", "last"),
    ]
    assert cron.admin.value("select count(*) from cron.job where active") == 2


def test_an_imported_job_runs_as_its_owner(cron: Cron, roles: Roles) -> None:
    app = roles.create("app")
    cron.add("who", NEVER, "select session_user, current_user, 1 / 0", username=app)
    cron.add("do", "10 seconds", "select 1", username=app)
    cron.admin.execute("begin")
    assert [row[1] for row in cron.admin.rows(IMPORT)] == ["imported"] * 2
    cron.admin.execute("delete from cron.job")
    cron.admin.execute("commit")
    user = cron.connect(app)
    handle = run_now(user, "who")
    assert user.finished(handle).sqlstate == "22012"
    assert user.job(handle)["role"] == app
    eventually(lambda: "stopped" in {job["state"] for job in jobs(user, "do")}, 20)
    user.call("unschedule", "do")
    user.close()


def test_what_pg_cron_takes_and_we_refuse_is_told_and_stops_nothing_else(cron: Cron) -> None:
    bad = {
        "more": ("* * * * * and more", "invalid schedule: text after the fifth field"),
        "third": ("0 0 1 1 1#1", 'invalid day of week in schedule: "1#1" means nothing there.'),
        "empty": ("5-1 0 1 1 *", 'invalid minute in schedule: the range "5-1" is empty.'),
        "february": ("0 0 31 2 *", "invalid day of month in schedule"),
    }
    for name, (text, _) in bad.items():
        cron.add(name, text, "select 1", active=False)
    cron.add("x" * 300, NEVER, "select 1")
    cron.add("good", NEVER, "select 1")
    found = cron.admin.rows(IMPORT)
    assert [row[1] for row in found] == ["refused"] * 5 + ["imported"]
    for (name, _, detail), (_, why) in zip(found, bad.values(), strict=False):
        assert detail.startswith(why), name
    assert found[4][2].startswith("name must have 1 to 255 bytes")
    names = cron.admin.rows("select name from background.pg_background_schedules")
    assert names == [("good",)]


def test_a_job_that_the_server_refuses_stops_nothing_else(cron: Cron) -> None:
    cron.add("bad", NEVER, "select 1")
    cron.add("good", NEVER, "select 1")
    cron.admin.execute("alter table pgbackground.schedule add constraint no check (name <> 'bad')")
    found = cron.admin.rows(IMPORT)
    cron.admin.execute("alter table pgbackground.schedule drop constraint no")
    assert [row[:2] for row in found] == [("bad", "refused"), ("good", "imported")]
    assert 'violates check constraint "no"' in found[0][2]


def test_jobs_of_another_database_or_server_or_of_nobody_are_passed_over(cron: Cron) -> None:
    here = cron.admin.value("show port")
    cron.add("there", NEVER, "select 'it''s'", database="template1", active=False)
    cron.add("far", NEVER, "select 1", nodename="db2.example", active=False)
    cron.add("port", NEVER, "select 1", nodeport=int(here) + 1, active=False)
    cron.add("orphan", NEVER, "select 1", username="nobody_at_all", active=False)
    found = cron.admin.rows(IMPORT)
    assert [(row[0], row[1]) for row in found] == [
        (name, "passed over") for name in ("there", "far", "port", "orphan")
    ]
    call = (
        f"pg_background_schedule('there', '{NEVER}', 'select ''it''''s''', 'GMT', active => false)"
    )
    user = cron.admin.value("select current_user")
    assert found[0][2] == f"It is of database template1. There, as {user}: select {call};"
    assert found[1][2].startswith("It is run on server db2.example, port ")
    assert found[3][2] == "Its role does not exist any longer."
    assert cron.admin.rows("select * from background.pg_background_schedules") == []
    # What it says can be run as it stands.
    cron.admin.execute(f"select background.{call}")


def test_a_second_import_changes_nothing(cron: Cron) -> None:
    cron.add("job", NEVER, "select 1")
    cron.add(None, NEVER, "select 2")
    assert [row[1] for row in cron.admin.rows(IMPORT)] == ["imported"] * 2
    user = cron.admin.value("select current_user")
    cron.admin.execute(
        "select background.pg_background_schedule('job', %s, 'select 3', 'UTC')", [NEVER]
    )
    assert [row[1] for row in cron.admin.rows(IMPORT)] == ["exists"] * 2
    row = seen(cron.admin, "job")
    assert (row["role"], row["sql"], row["timezone"]) == (user, "select 3", "UTC")


def test_all_are_imported_whatever_is_read_of_the_answer(cron: Cron) -> None:
    for number in range(3):
        cron.add(f"job {number}", NEVER, "select 1")
    cron.admin.execute("select background.pg_background_import_cron() limit 1")
    assert cron.admin.value("select count(*) from background.pg_background_schedules") == 3


def test_the_answer_says_what_the_dba_should_know(cron: Cron, roles: Roles) -> None:
    stranger = roles.create("stranger", member=False)
    cron.add("year", "@yearly", "select 1")
    cron.add("weekend", "0 0 * feb fri-sun", "select 1")
    cron.add("strange", NEVER, "select 1", username=stranger)
    found = {name: (outcome, detail) for name, outcome, detail in cron.admin.rows(IMPORT)}
    assert found == {
        "year": ("imported", "pg_cron never ran it: here it runs on 1 January."),
        "weekend": (
            "imported",
            "pg_cron never ran it on the days of a range up to sun: here it does.",
        ),
        "strange": (
            "imported",
            f"Its jobs fail until: grant pgbackground_role to {stranger};",
        ),
    }


def test_the_zone_is_that_of_cron_timezone(db: Database) -> None:
    """Where the library is loaded it cannot be set in a session: so of a table like its own."""
    admin = Session(db.connect(options="-c search_path=background"))
    admin.execute(TABLE)
    admin.execute(f"insert into cron.job (jobname, schedule, command) values ('a', '{NEVER}', '')")
    if admin.value("select current_setting('cron.database_name', true)") is not None:
        pytest.skip("the server has pg_cron preloaded")
    admin.execute("set cron.timezone = 'Mars/Olympus'")
    assert said(admin, IMPORT) == '22023 pg_background: time zone "Mars/Olympus" is not known'
    admin.execute("set cron.timezone = 'Europe/Berlin'")
    assert [row[1] for row in admin.rows(IMPORT)] == ["imported"]
    assert seen(admin, "a")["timezone"] == "Europe/Berlin"


def test_tables_of_older_versions_have_fewer_columns(db: Database) -> None:
    admin = Session(db.connect())
    admin.execute(TABLE)
    admin.execute("alter table cron.job drop column jobname, drop column active")
    admin.execute(f"insert into cron.job (schedule, command) values ('{NEVER}', 'select 1')")
    assert admin.rows(IMPORT) == [("cron job 1", "imported", None)]


def test_it_is_for_superusers(cron: Cron, roles: Roles) -> None:
    user = cron.connect(roles.create())
    assert said(user, IMPORT) == "42501 permission denied for function pg_background_import_cron"
    user.close()
    admin = cron.admin
    dba = roles.create("dba")
    admin.execute(f"grant execute on function background.pg_background_import_cron() to {dba}")
    session = cron.connect(dba)
    message = "42501 pg_background: must be superuser to import the jobs of pg_cron"
    assert said(session, IMPORT) == message
    session.close()
    admin.execute(f"revoke execute on function background.pg_background_import_cron() from {dba}")


@pytest.mark.parametrize(
    "trap",
    [
        "alter table cron.job owner to {role}",
        "alter schema cron owner to {role}",
        "drop table cron.job; create view cron.job as select 1 as jobid",
    ],
)
def test_a_table_that_others_could_have_written_is_not_believed(
    db: Database, roles: Roles, trap: str
) -> None:
    """Its rows say what is run as whom: as a superuser, say."""
    admin = Session(db.connect())
    admin.execute(TABLE)
    admin.execute(trap.format(role=roles.create()))
    assert said(admin, IMPORT).startswith(
        "42501 pg_background: cron.job is no table of a superuser"
    )


def test_without_pg_cron_it_says_where_to_look(admin: Session, tmp_path: Path) -> None:
    message = "42P01 pg_background: there is no table cron.job in this database"
    assert said(admin, IMPORT) == message
    install_cron(admin, tmp_path)
    assert said(admin, IMPORT).startswith("55000")
