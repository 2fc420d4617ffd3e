"""run_at, keys, notifications, and the clock that is there only while something is due."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_db import Database, Roles, unique_name
from tests.fix_wait import Gate, eventually
from tests.integration.queues import ended, enqueue, limit
from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.product import install
from tools.servers import Server

CLOCK = (
    "select pid, backend_xmin from pg_stat_activity"
    " where query = 'call pgbackground.keep_clock()' and datname = current_database()"
)


def clocks(admin: Session) -> list[int]:
    """The pids of the sessions that keep the clock."""
    return [pid for pid, _ in admin.rows(f"{CLOCK} and state = 'active'")]


@pytest.fixture(scope="module")
def throw_away() -> Iterator[LocalServer]:
    """Give a durable server of its own with the product and a user, app."""
    with LocalServer(durable=True) as local:
        install(local.dsn())
        with psycopg.connect(local.dsn(), autocommit=True) as admin:
            admin.execute(
                "create role app login; grant pgbackground_role to app; grant create on schema public to app"
            )
        yield local


def of_server(local: LocalServer, user: str) -> Session:
    return Session(psycopg.connect(local.dsn(user=user), autocommit=True))


def test_a_job_begins_at_its_time_and_the_clock_leaves_with_it(
    launcher: Session, observer: Session, admin: Session
) -> None:
    run_at = launcher.value("select clock_timestamp() + interval '1.2 s'")
    job = enqueue(launcher, "select 1", run_at=run_at)
    eventually(lambda: len(clocks(admin)) == 1)
    assert observer.job(job)["waits_for"] == "time"
    assert ended(observer, job) == ("stopped", None)
    late = (observer.job(job)["started_at"] - run_at).total_seconds()
    print(f"began {late * 1000:.0f} ms after its time")
    assert 0 <= late < 0.3
    eventually(lambda: clocks(admin) == [])


def test_the_clock_holds_no_snapshot_and_comes_back_when_it_was_ended(
    launcher: Session, observer: Session, admin: Session
) -> None:
    enqueue(launcher, "select 1", run_at="2999-01-01")
    (pid,) = eventually(lambda: clocks(admin))
    held = f"{CLOCK} and backend_xmin is not null"
    eventually(lambda: admin.rows(held) == [])
    looks = []
    for _ in range(40):
        looks += admin.rows(held)
        admin.execute("select pg_sleep(0.02)")
    assert len(looks) <= 3, "between two naps it looks, for a moment"
    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    assert clocks(admin) == []
    assert ended(observer, enqueue(launcher, "select 1")) == ("stopped", None)
    (again,) = eventually(lambda: clocks(admin))
    assert again != pid


def test_a_user_who_calls_what_is_internal_cannot_stop_the_clock(
    launcher: Session,
    observer: Session,
    connect: Callable[..., Session],
    roles: Roles,
) -> None:
    villain = connect(roles.create("villain"))
    for call in (
        "take_clock()",
        "clock_sleep()",
        "make_ready()",
        "release_all()",
        "take_next(null, false)",
        "becomes_starter()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            villain.execute(f"select pgbackground.{call}")
    villain.execute("begin")
    villain.execute("select 1")
    job = enqueue(
        launcher, "select 1", run_at=launcher.value("select clock_timestamp() + interval '0.5 s'")
    )
    assert ended(observer, job) == ("stopped", None)
    with pytest.raises(psycopg.Error):
        villain.execute("call pgbackground.keep_clock()")
    villain.execute("rollback")


def test_the_clock_does_not_keep_a_database(server: Server, template: str, roles: Roles) -> None:
    name = unique_name("dropped")
    server.execute(
        psycopg.sql.SQL("create database {} template {}").format(
            psycopg.sql.Identifier(name), psycopg.sql.Identifier(template)
        )
    )
    app = roles.create()
    session = Session(psycopg.connect(server.dsn(name, app, password=app), autocommit=True))
    enqueue(session, "select 1", run_at="2999-01-01")
    admin = Session(psycopg.connect(server.dsn(name), autocommit=True))
    eventually(lambda: clocks(admin))
    admin.close()
    session.close()
    began = time.monotonic()
    server.execute(psycopg.sql.SQL("drop database {}").format(psycopg.sql.Identifier(name)))
    assert time.monotonic() - began < 2.5


def test_what_is_due_after_a_crash_runs_once(throw_away: LocalServer) -> None:
    session = of_server(throw_away, "app")
    session.execute("create table t (n int4)")
    job = enqueue(
        session,
        "insert into t values (1)",
        run_at=session.value("select clock_timestamp() + interval '3 s'"),
    )
    session.close()
    throw_away.crash()
    throw_away.start()
    session = of_server(throw_away, "app")
    assert session.job(job)["state"] == "queued"
    assert session.wait(job, 20_000)
    assert session.job(job)["state"] == "stopped"
    assert session.rows("select n from t") == [(1,)]
    session.close()


def test_a_smart_shutdown_ends_although_something_is_due(throw_away: LocalServer) -> None:
    session = of_server(throw_away, "app")
    enqueue(session, "select 1", run_at="2999-01-01")
    admin = of_server(throw_away, "postgres")
    eventually(lambda: clocks(admin))
    session.close()
    admin.close()
    began = time.monotonic()
    throw_away._pg_ctl("stop", "--mode", "smart", "--timeout", "20")
    assert time.monotonic() - began < 5
    throw_away.start()


def test_priority_is_what_counts_within_a_role(
    launcher: Session, observer: Session, admin: Session, app: str
) -> None:
    launcher.execute("create table t (id int4 generated always as identity, n int4)")
    limit(admin, "role", 0, app)
    launcher.execute("begin")
    jobs = [enqueue(launcher, f"insert into t (n) values ({n})", priority=n % 3) for n in range(60)]
    launcher.execute("commit")
    limit(admin, "role", 1, app)
    assert observer.wait(jobs[0])
    eventually(lambda: observer.value("select count(*) from t") == 60)
    assert [n % 3 for (n,) in observer.rows("select n from t order by id")] == [2] * 20 + [
        1
    ] * 20 + [0] * 20


def test_one_unfinished_job_has_a_key_however_many_ask(
    connect: Callable[..., Session], observer: Session, gate: Gate
) -> None:
    sessions = [connect() for _ in range(20)]
    for turn in range(3):
        if turn:
            gate.close()
        with ThreadPoolExecutor(20) as pool:
            jobs = set(pool.map(lambda session: enqueue(session, gate.sql, key="one"), sessions))
        assert len(jobs) == 1
        (job,) = jobs
        assert job.pid == 0
        gate.open()
        assert ended(observer, job) == ("stopped", None)


def test_each_kind_of_end_is_told_to_who_listens(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    observer.execute("listen ends")
    good = enqueue(launcher, "select 1", notify="ends", label="good")
    bad = enqueue(
        launcher, "select 1 / 0", notify="ends", attempts=2, retry_on="any", backoff="0 s"
    )
    later = enqueue(launcher, "select 1", notify="ends", run_at="2999-01-01")
    child = enqueue(launcher, "select 1", notify="ends", after=[later.cookie])
    launcher.cancel(later)
    lost = enqueue(launcher, gate.sql, notify="ends")
    (pid,) = gate.arrived()
    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    admin.wait(lost)
    said = [
        json.loads(each.payload) for each in observer.connection.notifies(timeout=10, stop_after=5)
    ]
    assert {each["cookie"]: (each["state"], each["sqlstate"], each["label"]) for each in said} == {
        good.cookie: ("stopped", None, "good"),
        bad.cookie: ("error", "22012", None),
        later.cookie: ("canceled", "57014", None),
        child.cookie: ("canceled", "57014", None),
        lost.cookie: ("error", "57P01", None),
    }


@pytest.mark.usefixtures("db")
def test_limits_hold_for_what_was_enqueued(
    launcher: Session, admin: Session, app: str, gate: Gate, db: Database
) -> None:
    assert db.name
    limit(admin, "role", 2, app)
    launcher.execute("begin")
    for _ in range(6):
        enqueue(launcher, gate.sql)
    launcher.execute("commit")
    gate.arrived(2)
    admin.execute("select pg_sleep(0.3)")
    assert admin.value("select count(*) from pgbackground.job where state = 'running'") == 2
    gate.open()
    eventually(
        lambda: admin.value("select count(*) from pgbackground.job where state = 'stopped'") == 6
    )
