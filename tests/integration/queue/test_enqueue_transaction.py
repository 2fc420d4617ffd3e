"""enqueue: the job belongs to the caller's transaction, and begins as soon as that has committed."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import ended, enqueue
from tests.integration.session import Session

LEVELS = ("read committed", "repeatable read", "serializable")


@pytest.fixture
def table(launcher: Session) -> None:
    """Make the table that jobs write to."""
    launcher.execute("create table t (n int4, at timestamptz default clock_timestamp())")


def written(session: Session) -> list[int]:
    """What the jobs have written, in order."""
    return [n for (n,) in session.rows("select n from t order by at")]


def waiting_workers(admin: Session) -> int:
    """How many workers wait for the end of somebody's transaction."""
    found: int = admin.value(
        "select count(*) from pg_stat_activity where query like 'call pgbackground.work_after%'"
        " and state = 'active' and datname = current_database()"
    )
    return found


@pytest.mark.usefixtures("table")
def test_a_job_exists_and_begins_when_its_transaction_commits(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("begin")
    job = enqueue(launcher, "insert into t values (1)", label="mine")
    assert job.pid == 0
    assert launcher.job(job)["state"] == "queued"
    assert observer.rows("select * from background.pg_background_jobs") == []
    launcher.execute("commit")
    assert ended(observer, job) == ("stopped", None)
    assert written(observer) == [1]


@pytest.mark.usefixtures("table")
def test_rolled_back_work_leaves_nothing(
    launcher: Session, observer: Session, admin: Session
) -> None:
    launcher.execute("begin")
    enqueue(launcher, "insert into t values (1)")
    launcher.execute("rollback")
    eventually(lambda: waiting_workers(admin) == 0)
    assert observer.rows("select * from background.pg_background_jobs") == []
    assert ended(observer, enqueue(launcher, "insert into t values (2)")) == ("stopped", None)
    assert written(observer) == [2]


@pytest.mark.usefixtures("table")
def test_work_of_a_savepoint_goes_with_it_and_what_comes_after_it_begins(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("begin")
    launcher.execute("savepoint s")
    enqueue(launcher, "insert into t values (1)")
    launcher.execute("rollback to s")
    kept = enqueue(launcher, "insert into t values (2)")
    launcher.execute("savepoint s2")
    enqueue(launcher, "insert into t values (3)")
    launcher.execute("rollback to s2")
    launcher.execute("commit")
    assert ended(observer, kept) == ("stopped", None)
    assert written(observer) == [2]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("level", LEVELS)
def test_any_isolation_level_may_enqueue_a_chain(
    launcher: Session, observer: Session, level: str
) -> None:
    launcher.execute(f"begin isolation level {level}")
    launcher.rows("select 1")
    parent = enqueue(launcher, "insert into t values (1)")
    child = enqueue(launcher, "insert into t values (2)", after=[parent.cookie])
    launcher.execute("commit")
    assert ended(observer, child) == ("stopped", None)
    assert written(observer) == [1, 2]


def test_a_read_only_transaction_enqueues_nothing(launcher: Session, observer: Session) -> None:
    launcher.execute("begin read only")
    with pytest.raises(psycopg.Error) as refusal:
        enqueue(launcher, "select 1")
    launcher.execute("rollback")
    assert refusal.value.sqlstate == "25006"
    assert observer.rows("select * from background.pg_background_jobs") == []


def test_the_first_job_of_a_role_holds_up_no_launch_of_that_role(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("begin")
    enqueue(launcher, "select 1")
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"
    assert observer.finished(observer.launch("select 1")).state == "stopped"
    second = enqueue(observer, "select 2")
    assert ended(observer, second) == ("stopped", None)
    launcher.execute("commit")


def test_a_job_runs_as_the_role_that_was_set(
    connect: Callable[..., Session], roles: Roles, admin: Session
) -> None:
    user, other = roles.create("user"), roles.create("other")
    roles.grant(other, user)
    session = connect(user)
    session.execute(f"set role {other}")
    job = enqueue(session, "select current_user || '/' || session_user")
    assert ended(admin, job) == ("stopped", None)
    assert admin.result(job) == [(f"{other}/{user}",)]


@pytest.mark.parametrize("member", [True, False], ids=["a user", "nobody"])
def test_a_job_of_a_definer_function_runs_as_its_owner(
    connect: Callable[..., Session], roles: Roles, admin: Session, app: str, member: bool
) -> None:
    caller = connect(roles.create("caller", member=member))
    admin.execute(
        "create function public.later() returns background.pg_background_handle language sql security definer"
        " set search_path = pg_catalog begin atomic"
        " select background.pg_background_enqueue('select session_user::text');"
        f" end; alter function public.later() owner to {app}; grant usage on schema public to public"
    )
    admin.execute(f"grant usage on schema background to {caller.value('select current_user')}")
    caller.execute("begin")
    jobs = [caller.rows("select cookie from public.later()")[0][0] for _ in range(5)]
    caller.execute("commit")

    def all_ended() -> bool:
        return admin.rows(
            "select distinct state from background.pg_background_jobs where cookie = any (%s)",
            [jobs],
        ) == [("stopped",)]

    eventually(all_ended)
    eventually(lambda: waiting_workers(admin) == 0)


def test_a_statement_timeout_of_the_role_does_not_end_the_wait_for_the_commit(
    connect: Callable[..., Session], roles: Roles, admin: Session
) -> None:
    hasty = roles.create("hasty")
    admin.execute(f"alter role {hasty} set statement_timeout = '300ms'")
    admin.execute(f"alter role {hasty} set lock_timeout = '200ms'")
    session = connect(hasty)
    session.execute("begin")
    job = enqueue(session, "select 1")
    admin.execute("select pg_sleep(0.5)")
    assert waiting_workers(admin) == 1
    session.execute("commit")
    assert ended(admin, job) == ("stopped", None)


def _late_ms(session: Session, cookies: list[int]) -> list[float]:
    return sorted(
        late
        for (late,) in session.rows(
            "select extract(epoch from j.started_at - c.at)::float8 * 1000"
            " from background.pg_background_jobs j, commits c"
            " where j.cookie = any (%s) and c.cookie = j.cookie",
            [cookies],
        )
    )


def test_a_job_begins_within_milliseconds_of_its_commit(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("create table commits (cookie int8, at timestamptz)")
    cookies = []
    for _ in range(60):
        launcher.execute("begin")
        job = enqueue(launcher, "select 1")
        launcher.execute("insert into commits values (%s, clock_timestamp())", [job.cookie])
        launcher.execute("commit")
        cookies.append(job.cookie)
        assert ended(observer, job) == ("stopped", None)
    late = _late_ms(observer, cookies)
    print(
        f"commit to begin: median {statistics.median(late):.1f} ms, p95 {late[int(len(late) * 0.95)]:.1f} ms"
    )
    assert statistics.median(late) < 10


@pytest.mark.usefixtures("table")
def test_a_thousand_jobs_of_one_transaction_all_run_once(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("create table commits (cookie int8, at timestamptz)")
    launcher.execute("begin")
    launcher.execute(
        "insert into commits select (background.pg_background_enqueue(format('insert into t values (%s)', n))).cookie,"
        " null from generate_series(1, 1000) n"
    )
    launcher.execute("update commits set at = clock_timestamp()")
    launcher.execute("commit")
    eventually(lambda: observer.value("select count(*) from t") == 1000, 60)
    assert observer.value("select count(distinct n) from t") == 1000
    late = _late_ms(observer, [cookie for (cookie,) in observer.rows("select cookie from commits")])
    print(
        f"1,000 in one transaction: first {late[0]:.1f} ms, last {late[-1]:.1f} ms after the commit"
    )
    assert late[0] < 250


def test_all_jobs_of_a_transaction_begin_while_there_is_room(launcher: Session, gate: Gate) -> None:
    launcher.execute("begin")
    for _ in range(8):
        enqueue(launcher, gate.sql)
    launcher.execute("commit")
    gate.arrived(8, timeout=2)


def test_a_launcher_that_leaves_right_after_its_commit_leaves_its_jobs(
    connect: Callable[..., Session], observer: Session
) -> None:
    session = connect()
    session.execute("begin")
    jobs = [enqueue(session, "select 1") for _ in range(3)]
    session.execute("commit")
    session.close()
    assert [ended(observer, job) for job in jobs] == [("stopped", None)] * 3


def test_work_begins_although_no_worker_could_be_told(
    connect: Callable[..., Session], admin: Session, observer: Session, db: Database
) -> None:
    session = connect()
    admin.execute(
        "insert into background.pg_background_config values ('free_connections', '100000')"
    )
    job = enqueue(session, "select 1")
    admin.execute("delete from background.pg_background_config where name = 'free_connections'")
    assert observer.job(job)["state"] == "queued"
    assert observer.wait(job)
    assert observer.outcome(job).state == "stopped"
    db.close()


def test_a_wait_for_a_job_of_ones_own_open_transaction_is_a_deadlock(launcher: Session) -> None:
    launcher.execute("begin")
    job = enqueue(launcher, "select 1")
    with pytest.raises(psycopg.errors.DeadlockDetected, match="waits for it"):
        launcher.wait(job)
    launcher.execute("rollback")
