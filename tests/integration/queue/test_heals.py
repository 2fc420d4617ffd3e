"""A queue that nobody serves any longer goes on: by itself, or at the next touch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate
from tests.integration.queues import Stops, limit, states, until_running, use_queue
from tests.integration.session import Handle, Session
from tools.local_server import LocalServer
from tools.product import install


@pytest.fixture
def full(launcher: Session, gate: Gate) -> list[Handle]:
    """Fill the launcher's two places with jobs at the gate, and queue four more that write."""
    launcher.execute("create table t (id int4 generated always as identity, n int4)")
    use_queue(launcher, 2)
    jobs = [launcher.launch(gate.sql) for _ in range(2)]
    gate.arrived(2)
    jobs += [launcher.launch(f"insert into t (n) values ({n})") for n in range(4)]
    assert [job.pid for job in jobs[2:]] == [0] * 4
    return jobs


def leave(session: Session, admin: Session) -> None:
    """Close a session, and return when its process is gone."""
    pid = session.pid
    session.close()
    admin.until_gone(pid)


def kill_workers(admin: Session, jobs: list[Handle]) -> None:
    """End the workers of the first two jobs at once, and return when they are gone."""
    pids = [job.pid for job in jobs[:2]]
    admin.execute("select pg_terminate_backend(p) from unnest(%s::int4[]) p", [pids])
    for pid in pids:
        admin.until_gone(pid)


def assert_all_written(session: Session) -> None:
    """Each of the four jobs has run once."""
    assert session.rows("select n from t order by n") == [(n,) for n in range(4)]


def test_the_queue_goes_on_when_the_launcher_has_left(
    launcher: Session, admin: Session, gate: Gate, full: list[Handle]
) -> None:
    leave(launcher, admin)
    gate.open()
    for job in full:
        assert admin.until_ended(job).state == "stopped"
    assert_all_written(admin)


def test_top_level_and_timed_jobs_of_a_launcher_that_has_left_start_by_themselves(
    connect: Callable[..., Session], admin: Session, gate: Gate
) -> None:
    launcher = connect()
    use_queue(launcher, 1)
    launcher.execute("create table t (n int4)")
    first = launcher.launch(gate.sql)
    gate.arrived()
    jobs = [first, launcher.launch("vacuum t")]
    launcher.execute("set pg_background.worker_timeout = '30s'")
    jobs += [launcher.launch("insert into t values (1)"), launcher.launch("vacuum t")]
    launcher.execute("reset pg_background.worker_timeout")
    jobs += [launcher.launch("insert into t values (2)")]
    leave(launcher, admin)
    gate.open()
    for job in jobs:
        assert admin.until_ended(job).state == "stopped"
    assert admin.rows("select n from t order by n") == [(1,), (2,)]


@pytest.mark.parametrize("verb", ["wait", "result", "wait_any", "drain", "await"])
def test_after_the_death_of_all_workers_at_once_waiting_starts_the_queue_again(
    launcher: Session, admin: Session, gate: Gate, full: list[Handle], verb: str
) -> None:
    kill_workers(admin, full)
    assert states(admin, *full[2:]) == ["queued"] * 4
    launcher.execute("set statement_timeout = '20s'")
    last = full[-1]
    handle = f"array[({last.pid}, {last.cookie})::background.pg_background_handle]"
    if verb == "wait":
        assert launcher.wait(last)
    elif verb == "result":
        assert launcher.result(last) == [("INSERT 0 1",)]
    elif verb == "await":
        launcher.await_(last)
    else:
        launcher.rows(f"select * from background.pg_background_{verb}({handle})")
    for job in full[2:]:
        assert admin.until_ended(job).state == "stopped"
    assert_all_written(launcher)
    assert [launcher.outcome(job).sqlstate for job in full[:2]] == ["57P01", "57P01"]
    gate.open()


def test_a_worker_that_ends_starts_what_only_the_dead_are_in_the_way_of(
    connect: Callable[..., Session], launcher: Session, admin: Session, db: Database
) -> None:
    stops = Stops(db.connect())
    alive = connect()
    last = alive.launch(stops.at(1))
    use_queue(launcher, 1)
    lost = launcher.launch(stops.at(2))
    jobs = [launcher.launch(f"select {n}") for n in range(2)]
    assert [job.pid for job in jobs] == [0, 0]
    admin.execute("select pg_terminate_backend(%s)", [lost.pid])
    admin.until_gone(lost.pid)
    leave(launcher, admin)
    assert states(admin, *jobs) == ["queued", "queued"]
    stops.release(1)
    for job in (last, *jobs):
        assert admin.until_ended(job).state == "stopped"


def test_a_wait_that_has_hardly_any_time_starts_the_queue_again(
    launcher: Session, admin: Session, full: list[Handle]
) -> None:
    kill_workers(admin, full)
    launcher.wait(full[-1], 1)
    for job in full[2:]:
        assert admin.until_ended(job).state == "stopped"


@pytest.mark.parametrize("verb", ["wait", "result", "wait_any", "drain"])
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_waiter_with_a_snapshot_older_than_the_job_starts_the_queue_again(
    observer: Session,
    launcher: Session,
    admin: Session,
    gate: Gate,
    verb: str,
    level: str,
) -> None:
    observer.execute(f"begin isolation level {level}")
    observer.execute("select 1")
    use_queue(launcher, 1)
    first = launcher.launch(gate.sql)
    gate.arrived()
    job = launcher.launch("select 7")
    assert job.pid == 0
    leave(launcher, admin)
    kill_workers(admin, [first])
    observer.execute("set local statement_timeout = '20s'")
    handle = f"array[({job.pid}, {job.cookie})::background.pg_background_handle]"
    if verb == "wait":
        assert observer.wait(job)
    elif verb == "result":
        assert observer.result(job, "n int4") == [(7,)]
    else:
        observer.rows(f"select * from background.pg_background_{verb}({handle})")
    observer.execute("commit")
    assert states(admin, job) == ["stopped"]


DOCTOR = "select ok, detail, cure from background.pg_background_check() where item = 'queue'"


def doctor(session: Session) -> tuple[bool, str, str | None]:
    """Return what the doctor says of the queue."""
    found: tuple[bool, str, str | None] = session.rows(DOCTOR)[0]
    return found


@pytest.mark.usefixtures("gate")
def test_after_the_death_of_all_workers_at_once_the_doctor_says_so_and_starts_nothing(
    launcher: Session, admin: Session, full: list[Handle]
) -> None:
    kill_workers(admin, full)
    ok, detail, cure = doctor(admin)
    assert not ok
    assert "could start" in detail
    assert "pg_background_wait" in (cure or "")
    assert states(admin, *full[2:]) == ["queued"] * 4
    launcher.wait(full[2], 1)
    for job in full[2:]:
        assert admin.until_ended(job).state == "stopped"
    assert doctor(admin) == (True, "no job waits for a place", None)


def test_the_doctor_tells_how_many_jobs_wait_and_leaves_a_full_house_alone(
    launcher: Session,
    connect: Callable[..., Session],
    roles: Roles,
    admin: Session,
    full: list[Handle],
) -> None:
    admin.execute("update pgbackground.job set launched_at = launched_at - interval '1 hour'")
    for session in (launcher, admin):
        ok, detail, cure = doctor(session)
        assert (ok, cure) == (True, None)
        assert detail.startswith("waiting for a place: 4, the oldest for 01:00:")
    assert states(admin, *full) == ["running"] * 2 + ["queued"] * 4
    stranger = connect(roles.create("stranger"))
    assert doctor(stranger) == (True, "no job waits for a place", None)


@pytest.mark.parametrize("who", ["launcher", "observer"])
def test_after_the_death_of_all_workers_at_once_the_next_launch_starts_the_queue_again(
    launcher: Session, observer: Session, admin: Session, full: list[Handle], who: str
) -> None:
    kill_workers(admin, full)
    session = {"launcher": launcher, "observer": observer}[who]
    use_queue(session)
    session.launch("select 1")
    for job in full[2:]:
        assert admin.until_ended(job).state == "stopped"
    assert_all_written(launcher)


def test_the_queue_of_a_dead_launcher_and_dead_workers_is_healed_by_another_roles_launch(
    launcher: Session,
    connect: Callable[..., Session],
    roles: Roles,
    admin: Session,
    full: list[Handle],
) -> None:
    limit(admin, "database", 2)
    leave(launcher, admin)
    kill_workers(admin, full)
    other = connect(roles.create("other"))
    use_queue(other)
    own = [other.launch("select 1") for _ in range(2)]
    for job in (*own, *full[2:]):
        assert admin.until_ended(job).state == "stopped"
    assert_all_written(admin)


def test_a_queued_job_that_ends_its_own_worker_does_not_stop_the_queue(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    use_queue(launcher, 1)
    launcher.launch(gate.sql)
    gate.arrived()
    suicide = launcher.launch("select pg_terminate_backend(pg_backend_pid())")
    following = launcher.launch("select 1")
    gate.open()
    assert launcher.wait(following)
    assert launcher.outcome(following).state == "stopped"
    assert launcher.outcome(suicide).sqlstate == "57P01"
    assert states(admin, suicide, following) == ["error", "stopped"]


def test_a_limit_that_is_raised_lets_more_jobs_start(
    launcher: Session, admin: Session, db: Database
) -> None:
    stops = Stops(db.connect())
    limit(admin, "role", 1)
    use_queue(launcher)
    jobs = [launcher.launch(stops.at(n)) for n in range(4)]
    until_running(admin, jobs[0])
    limit(admin, "role", 3)
    assert launcher.wait(jobs[1], 100) is False
    until_running(admin, *jobs[:3])
    assert states(admin, jobs[3]) == ["queued"]
    limit(admin, "role", 1)
    stops.release(0)
    assert admin.until_ended(jobs[0]).state == "stopped"
    assert launcher.wait(jobs[3], 100) is False
    assert states(admin, *jobs[1:]) == ["running", "running", "queued"]
    stops.release(1, 2, 3)
    for job in jobs:
        assert admin.until_ended(job).state == "stopped"


@pytest.fixture(scope="module")
def own_server() -> Iterator[LocalServer]:
    """Give a server of this module's own, which may crash."""
    with LocalServer(durable=True) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("create role app login")
        install(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(
                "grant pgbackground_role to app; grant create on schema public to app"
            )
        yield server


@pytest.mark.parametrize("how", ["crash", "restart"])
@pytest.mark.parametrize("touch", ["wait", "launch"])
def test_queued_jobs_survive_a_restart_and_run_at_the_next_touch(
    own_server: LocalServer, how: str, touch: str
) -> None:
    connection = psycopg.connect(own_server.dsn(user="app"), autocommit=True)
    launcher = Session(connection)
    launcher.execute("drop table if exists t; create table t (n int4)")
    use_queue(launcher, 1)
    launcher.launch("select pg_sleep(600)")
    launcher.execute("set app.tenant = 'blue'")
    jobs = [
        launcher.launch("insert into t values (1); select current_setting('app.tenant')"),
        launcher.launch("vacuum t"),
    ]
    assert [job.pid for job in jobs] == [0, 0]
    if how == "crash":
        own_server.crash()
        own_server.start()
    else:
        own_server.restart()
    connection.close()
    with psycopg.connect(own_server.dsn(user="app"), autocommit=True) as again:
        session = Session(again)
        assert [session.outcome(job).state for job in jobs] == ["queued", "queued"]
        use_queue(session, 1)
        if touch == "launch":
            session.launch("select 1")
            for job in jobs:
                session.until_ended(job)
        else:
            for job in jobs:
                assert session.wait(job)
        assert session.result(jobs[0]) == [("blue",)]
        assert session.outcome(jobs[1]).state == "stopped"
        assert session.rows("select n from t") == [(1,)]
