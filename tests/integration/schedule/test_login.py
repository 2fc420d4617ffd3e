"""A login starts the clock after a restart of the server, and no login ever notices: PostgreSQL 17 and later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.fix_db import Database, Roles, unique_name
from tests.fix_wait import eventually
from tests.integration.operations.removal import files, run
from tests.integration.schedule.schedules import clock_pid, jobs, schedule
from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.product import install
from tools.servers import Server

FIRST = 170000
ON = "select background.pg_background_start_clock_at_login()"
OFF = "select background.pg_background_start_clock_at_login(false)"
TRIGGERS = "select count(*) from pg_event_trigger where evtevent = 'login'"
STARTER = "'call pgbackground.keep_clock()'"


def version(server: Server) -> int:
    with psycopg.connect(server.admin_dsn) as connection:
        return connection.info.server_version


@pytest.fixture
def new_server(server: Server) -> Server:
    """Give the server, where it knows login triggers."""
    if version(server) < FIRST:
        pytest.skip("PostgreSQL 17 and later")
    return server


@pytest.fixture(scope="module")
def restarted() -> Iterator[LocalServer]:
    """Give a durable server of its own with the product, a user of it, app, and a role without any right, nobody."""
    with LocalServer(durable=True) as local:
        with psycopg.connect(local.dsn(), autocommit=True) as admin:
            if admin.info.server_version < FIRST:
                pytest.skip("PostgreSQL 17 and later")
        install(local.dsn())
        with psycopg.connect(local.dsn(), autocommit=True) as admin:
            admin.execute(
                "create role app login; create role nobody login; grant pgbackground_role to app"
            )
            admin.execute(ON)
        yield local


def of_local(local: LocalServer, user: str) -> Session:
    return Session(psycopg.connect(local.dsn(user=user), autocommit=True))


def kill_clock(admin: Session) -> int:
    """End the session that keeps the clock, and wait until it is gone."""
    pid = eventually(lambda: clock_pid(admin))
    assert pid is not None
    eventually(lambda: is_shown(admin, pid))
    admin.execute("select pg_terminate_backend(%s)", [pid])
    admin.until_gone(pid)
    return pid


def is_shown(admin: Session, pid: int | None) -> bool:
    """Has the clock been taken, and is its lock held?"""
    return bool(
        admin.rows(
            "select from pg_locks where locktype = 'advisory' and pid = %s"
            " and classid = 1885823591 and objid = 1668050795",
            [pid],
        )
    )


def test_older_servers_are_told_what_to_do_instead(server: Server, admin: Session) -> None:
    if version(server) >= FIRST:
        pytest.skip("PostgreSQL 15 and 16")
    with pytest.raises(psycopg.errors.FeatureNotSupported) as refused:
        admin.execute(ON)
    assert "pg_background_tick()" in str(refused.value.diag.message_hint)
    assert admin.value("select count(*) from pg_event_trigger") == 0
    assert admin.value(OFF) is False


def test_it_is_the_dbas(launcher: Session, admin: Session) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        launcher.execute(ON)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        admin.execute("select background.pg_background_start_clock_at_login(null)")


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_after_a_restart_a_login_of_anybody_sets_schedules_going(
    restarted: LocalServer, how: str
) -> None:
    session = of_local(restarted, "app")
    name = f"after a {how}"
    schedule(session, name, "1 second", "select 1")
    eventually(lambda: jobs(session, name))
    session.close()
    getattr(restarted, how)()
    if how == "crash":
        restarted.start()
    began = time.monotonic()
    of_local(restarted, "nobody").close()
    took = time.monotonic() - began
    print(f"the login that starts the clock after a {how}: {took * 1000:.0f} ms")
    assert took < 2
    session = of_local(restarted, "app")
    started = session.value("select pg_postmaster_start_time()")
    eventually(
        lambda: session.rows(
            "select from background.pg_background_schedules where name = %s and last_run > %s",
            [name, started],
        )
    )
    admin = of_local(restarted, "postgres")
    keeper = "select usename::text from pg_stat_activity where query = " + STARTER
    assert admin.rows(keeper) == [("postgres",)]
    session.call("unschedule", name)
    eventually(lambda: clock_pid(admin) is None)
    admin.close()
    session.close()


def test_nothing_starts_on_a_standby(restarted: LocalServer) -> None:
    session = of_local(restarted, "app")
    schedule(session, "standby", "1 second", "select 1")
    session.close()
    restarted.crash()
    (restarted.data / "standby.signal").touch()
    restarted.start()
    try:
        session = of_local(restarted, "nobody")
        assert session.value("select pg_is_in_recovery()")
        session.close()
        admin = of_local(restarted, "postgres")
        assert clock_pid(admin) is None
        # Promoted, the next login finds what is due.
        restarted._pg_ctl("promote")
        eventually(lambda: not admin.value("select pg_is_in_recovery()"))
        of_local(restarted, "nobody").close()
        eventually(lambda: clock_pid(admin))
        admin.close()
    finally:
        session = of_local(restarted, "app")
        session.call("unschedule", "standby")
        session.close()


@pytest.mark.usefixtures("new_server")
def test_a_killed_clock_comes_back_with_a_login_and_only_one(
    launcher: Session, admin: Session, db: Database, roles: Roles
) -> None:
    admin.execute(ON)
    stranger = roles.create("stranger", member=False)
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    killed = kill_clock(admin)
    for _ in range(10):
        db.connect(stranger).close()
    assert eventually(lambda: clock_pid(admin)) != killed
    assert admin.value("select tried_at is not null from pgbackground.clock_start")


@pytest.mark.usefixtures("new_server")
def test_a_login_that_is_read_only_or_serializable_starts_it_too(
    launcher: Session, admin: Session, db: Database, roles: Roles
) -> None:
    admin.execute(ON)
    stranger = roles.create("stranger", member=False)
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    for setting in (
        "default_transaction_read_only=on",
        "default_transaction_isolation=serializable",
    ):
        kill_clock(admin)
        admin.execute("update pgbackground.clock_start set tried_at = null")
        db.connect(stranger, options=f"-c {setting}").close()
        eventually(lambda: clock_pid(admin))


@pytest.mark.usefixtures("new_server")
def test_a_login_loads_no_python_while_the_clock_is_kept_or_nothing_is_due(
    launcher: Session, admin: Session, db: Database, roles: Roles
) -> None:
    admin.execute(ON)
    stranger = roles.create("stranger", member=False)

    def loads_python() -> bool:
        session = db.connect(stranger)
        found = Path(f"/proc/{session.info.backend_pid}/maps").read_text(encoding="utf-8")
        session.close()
        return "plpython3" in found

    try:
        assert not loads_python()
    except FileNotFoundError:
        pytest.skip("the server's processes are not this machine's")
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    eventually(lambda: is_shown(admin, clock_pid(admin)))
    assert not loads_python()
    kill_clock(admin)
    assert loads_python()


@pytest.mark.usefixtures("new_server")
def test_a_clock_that_cannot_be_started_is_tried_for_once_in_10_seconds(
    launcher: Session, admin: Session, db: Database, roles: Roles
) -> None:
    admin.execute(ON)
    stranger = roles.create("stranger", member=False)
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    eventually(lambda: clock_pid(admin))
    admin.execute("insert into background.pg_background_config values ('conninfo', 'port=1')")
    kill_clock(admin)
    tried = []
    for _ in range(3):
        db.connect(stranger).close()
        tried.append(admin.value("select tried_at from pgbackground.clock_start"))
    assert tried[0] is not None
    assert len(set(tried)) == 1
    assert clock_pid(admin) is None


BREAKS = [
    "drop table pgbackground.clock cascade",
    "drop table pgbackground.clock_start cascade",
    "drop table pgbackground.schedule cascade",
    "drop function pgbackground.start_clock()",
    "drop function pgbackground.clock_is_alive()",
    "drop function pgbackground.home() cascade",
    "truncate pgbackground.clock",
    "alter schema pgbackground rename to elsewhere",
]


@pytest.mark.usefixtures("new_server")
@pytest.mark.parametrize("broken", BREAKS)
def test_whatever_is_missing_everybody_can_log_in(
    launcher: Session, admin: Session, db: Database, roles: Roles, broken: str
) -> None:
    admin.execute(ON)
    stranger = roles.create("stranger", member=False)
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    kill_clock(admin)
    admin.execute(broken)
    assert db.connect(stranger).execute("select 1").fetchone() == (1,)


@pytest.mark.usefixtures("new_server")
def test_whatever_is_locked_everybody_can_log_in(
    launcher: Session, admin: Session, db: Database, roles: Roles
) -> None:
    admin.execute(ON)
    stranger = roles.create("stranger", member=False)
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    kill_clock(admin)
    admin.execute("begin")
    admin.execute("lock table pgbackground.clock, pgbackground.schedule, pgbackground.clock_start")
    began = time.monotonic()
    db.connect(stranger).close()
    assert time.monotonic() - began < 1
    admin.execute("rollback")
    db.connect(stranger).close()
    eventually(lambda: clock_pid(admin))


@pytest.mark.usefixtures("new_server")
def test_making_the_trigger_does_not_send_the_clock_away(
    launcher: Session, admin: Session, db: Database
) -> None:
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    maker = Session(db.connect(autocommit=False))
    maker.execute(ON)
    # Until that is committed nobody can log in: the server's own way.
    assert admin.value("select pgbackground.clock_sleep()") is not None
    maker.connection.commit()


def test_a_copy_of_the_database_starts_nothing(
    new_server: Server, launcher: Session, admin: Session, db: Database, roles: Roles
) -> None:
    admin.execute(ON)
    stranger = roles.create("stranger", member=False)
    schedule(launcher, "job", "1 second", "select 1")
    eventually(lambda: clock_pid(admin))
    name = db.name
    kill_clock(admin)
    db.close()
    with new_server.database(unique_name("copy"), name) as copy:
        with psycopg.connect(new_server.dsn(copy, stranger, stranger)) as session:
            session.execute("select 1")
        dba = Session(psycopg.connect(new_server.dsn(copy), autocommit=True))
        assert clock_pid(dba) is None
        # The next login has nothing to look for.
        assert dba.value("select pid from pgbackground.clock") is None
        dba.close()


@pytest.mark.usefixtures("new_server")
def test_it_is_switched_on_and_off_and_the_doctor_says_which(
    launcher: Session, admin: Session
) -> None:
    query = "select detail from background.pg_background_check() where item = 'clock'"
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    eventually(lambda: "kept by PID" in admin.value(query))
    assert "after a restart of the server nothing starts it" in admin.value(query)
    for _ in range(2):
        assert admin.value(ON) is True
    assert admin.value(TRIGGERS) == 1
    assert "after a restart of the server the next login starts it" in admin.value(query)
    admin.execute("alter event trigger pg_background_plpy_login disable")
    assert "nothing starts it" in admin.value(query)
    admin.execute(ON)
    assert "the next login starts it" in admin.value(query)
    for _ in range(2):
        assert admin.value(OFF) is False
    assert admin.value(TRIGGERS) == 0


def test_uninstall_takes_it_away(new_server: Server, bare: str, tmp_path: Path) -> None:
    texts = files(tmp_path)
    run(new_server, bare, texts.install)
    run(new_server, bare, ON)
    run(new_server, bare, texts.uninstall)
    with psycopg.connect(new_server.dsn(bare)) as connection:
        assert connection.execute(sql.SQL(TRIGGERS)).fetchone() == (0,)


@pytest.mark.usefixtures("extension_folder")
@pytest.mark.parametrize("by", ["uninstall.sql", "DROP EXTENSION", "off"])
def test_the_extension_takes_it_along(
    new_server: Server, bare: str, tmp_path: Path, by: str
) -> None:
    with psycopg.connect(new_server.dsn(bare), autocommit=True) as admin:
        admin.execute("create schema background")
        admin.execute("create extension pg_background_plpy schema background cascade")
        admin.execute(sql.SQL(ON))
        if by == "uninstall.sql":
            run(new_server, bare, files(tmp_path).uninstall)
        elif by == "off":
            admin.execute(sql.SQL(OFF))
        else:
            admin.execute("drop extension pg_background_plpy")
        assert admin.execute(sql.SQL(TRIGGERS)).fetchone() == (0,)


@pytest.mark.usefixtures("new_server")
def test_the_clock_finds_room_where_a_login_holds_its_lock(
    launcher: Session, connect: Callable[..., Session], admin: Session
) -> None:
    """Logins look at a lock that anybody can take: that starts nothing and stops nothing."""
    villain = connect()
    villain.execute("select pg_advisory_lock(1885823591, 1668050795)")
    schedule(launcher, "job", "1 second", "select 1")
    eventually(lambda: len(jobs(launcher, "job")) > 1)
    villain.execute("select pg_advisory_unlock_all()")
    eventually(lambda: is_shown(admin, clock_pid(admin)))
