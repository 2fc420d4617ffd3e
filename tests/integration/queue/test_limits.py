"""Limits: per session, role and database, exact however many launch at once; places come free again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import Stops, limit, most_at_once, states, use_queue
from tests.integration.session import Handle, Session

FULL = psycopg.errors.ConfigurationLimitExceeded


@pytest.fixture
def stops(db: Database) -> Stops:
    """Give stops that are all let go when the test ends."""
    return Stops(db.connect(application_name="stops"))


def assert_full(session: Session, scope: str, max_workers: int) -> None:
    """The next launch is refused at this limit."""
    with pytest.raises(FULL) as refusal:
        session.launch("select 1")
    diag = refusal.value.diag
    assert diag.sqlstate == "53400"
    assert diag.message_primary == "pg_background: too many background workers"
    assert diag.message_detail == f"Current limit is {max_workers} concurrent workers per {scope}."
    assert "pg_background_limits" in (diag.message_hint or "")


def fill(session: Session, stops: Stops, count: int, first: int = 0) -> list[Handle]:
    """Launch so many jobs that wait at their stops."""
    return [session.launch(stops.at(first + n)) for n in range(count)]


def test_a_session_runs_as_many_jobs_as_it_has_set(launcher: Session, stops: Stops) -> None:
    launcher.execute("set pg_background.max_workers = 2")
    fill(launcher, stops, 2)
    assert_full(launcher, "session", 2)
    launcher.execute("set pg_background.max_workers = 3")
    fill(launcher, stops, 1, 2)
    assert_full(launcher, "session", 3)


@pytest.mark.parametrize("value", ["0", "1001", "-1", "many", "99999999999999999999"])
def test_a_bad_number_of_workers_is_refused(launcher: Session, value: str) -> None:
    launcher.execute(f"set pg_background.max_workers = '{value}'")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"pg_background\.max_workers"):
        launcher.launch("select 1")


def test_a_session_is_counted_by_itself(launcher: Session, observer: Session, stops: Stops) -> None:
    for session in (launcher, observer):
        session.execute("set pg_background.max_workers = 1")
    fill(launcher, stops, 1)
    fill(observer, stops, 1, 1)
    assert_full(launcher, "session", 1)
    assert_full(observer, "session", 1)


def test_no_session_sets_itself_past_the_dbas_limit(
    launcher: Session, admin: Session, stops: Stops
) -> None:
    limit(admin, "session", 1)
    launcher.execute("set pg_background.max_workers = 1000")
    fill(launcher, stops, 1)
    assert_full(launcher, "session", 1)


def test_a_limit_of_all_roles_counts_each_role_by_itself(
    launcher: Session,
    observer: Session,
    connect: Callable[..., Session],
    roles: Roles,
    admin: Session,
    stops: Stops,
) -> None:
    limit(admin, "role", 2)
    other = connect(roles.create("other"))
    fill(launcher, stops, 1)
    fill(observer, stops, 1, 1)
    for session in (launcher, observer):
        assert_full(session, "role", 2)
    fill(other, stops, 2, 2)
    assert_full(other, "role", 2)


def test_a_limit_that_names_a_role_binds_that_role_only(
    launcher: Session, admin: Session, app: str, stops: Stops
) -> None:
    limit(admin, "role", 1, app)
    limit(admin, "session", 0, "nobody")
    fill(launcher, stops, 1)
    assert_full(launcher, "role", 1)
    fill(admin, stops, 3, 1)


def test_the_role_that_counts_is_the_one_that_was_set(
    launcher: Session, admin: Session, roles: Roles, app: str, stops: Stops
) -> None:
    other = roles.create("other")
    roles.grant(other, app)
    limit(admin, "role", 1, other)
    fill(launcher, stops, 2)
    launcher.execute(f"set role {other}")
    fill(launcher, stops, 1, 2)
    assert_full(launcher, "role", 1)


def test_a_limit_of_the_database_counts_everybody(
    launcher: Session, admin: Session, db: Database, stops: Stops
) -> None:
    limit(admin, "database", 2, db.name)
    limit(admin, "database", 0, "elsewhere")
    fill(launcher, stops, 1)
    fill(admin, stops, 1, 1)
    assert_full(launcher, "database", 2)
    assert_full(admin, "database", 2)


def test_the_tightest_limit_is_named(
    launcher: Session, admin: Session, app: str, stops: Stops
) -> None:
    limit(admin, "database", 3)
    limit(admin, "role", 2)
    limit(admin, "role", 1, app)
    fill(launcher, stops, 1)
    assert_full(launcher, "role", 1)


def test_a_limit_of_0_lets_nobody_in(launcher: Session, admin: Session) -> None:
    limit(admin, "database", 0)
    assert_full(launcher, "database", 0)


def test_limits_may_change_while_jobs_run(launcher: Session, admin: Session, stops: Stops) -> None:
    limit(admin, "role", 1)
    jobs = fill(launcher, stops, 1)
    assert_full(launcher, "role", 1)
    limit(admin, "role", 3)
    jobs += fill(launcher, stops, 2, 1)
    assert_full(launcher, "role", 3)
    limit(admin, "role", 2)
    stops.release(0)
    launcher.wait(jobs[0])
    assert_full(launcher, "role", 2)
    stops.release(1)
    launcher.wait(jobs[1])
    fill(launcher, stops, 1, 3)
    admin.execute("delete from background.pg_background_limits")
    fill(launcher, stops, 2, 4)


def test_users_may_not_change_the_limits(launcher: Session) -> None:
    for statement in (
        "select * from background.pg_background_limits",
        "insert into background.pg_background_limits values ('database', null, 1000)",
        "update background.pg_background_limits set max_workers = 1000",
        "delete from background.pg_background_limits",
        "begin; lock table pgbackground.place",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            launcher.execute(statement)
        launcher.execute("rollback")


@pytest.mark.parametrize("detached", [False, True])
def test_a_job_that_has_ended_frees_its_place_and_a_detached_one_keeps_it(
    launcher: Session, stops: Stops, detached: bool
) -> None:
    launcher.execute("set pg_background.max_workers = 1")
    (job,) = fill(launcher, stops, 1)
    if detached:
        launcher.detach(job)
    assert_full(launcher, "session", 1)
    stops.release(0)
    if detached:
        eventually(lambda: launcher.outcome(job).state == "stopped")
    else:
        launcher.wait(job)
    assert launcher.result(launcher.launch("select 1"), "n int4") == [(1,)]


def test_a_dead_worker_frees_its_place(launcher: Session, admin: Session, stops: Stops) -> None:
    launcher.execute("set pg_background.max_workers = 2")
    jobs = fill(launcher, stops, 2)
    assert_full(launcher, "session", 2)
    admin.execute("select pg_terminate_backend(%s)", [jobs[0].pid])
    admin.until_gone(jobs[0].pid)
    fill(launcher, stops, 1, 2)
    assert_full(launcher, "session", 2)
    assert launcher.outcome(jobs[0]).sqlstate == "57P01"


def test_a_canceled_job_frees_its_place_when_it_has_ended_and_not_before(
    launcher: Session, admin: Session, stops: Stops
) -> None:
    launcher.execute("set pg_background.max_workers = 1")
    # The job puts the cancel off: it goes on at the stop.
    goes_on = stops.at(1).replace("select", "perform", 1)
    job = launcher.launch(
        f"do $$ begin perform pg_sleep(600); exception when query_canceled then {goes_on}; end $$"
    )
    eventually(lambda: (admin.backend(job.pid) or {}).get("wait_event") == "PgSleep")
    launcher.cancel(job)
    eventually(lambda: (admin.backend(job.pid) or {}).get("wait_event") == "advisory")
    assert_full(launcher, "session", 1)
    stops.release(1)
    launcher.wait(job)
    assert launcher.result(launcher.launch("select 1"), "n int4") == [(1,)]


def test_a_refused_launch_leaves_nothing_behind(
    launcher: Session, admin: Session, stops: Stops, db: Database
) -> None:
    launcher.execute("set pg_background.max_workers = 1")
    fill(launcher, stops, 1)
    for _ in range(5):
        assert_full(launcher, "session", 1)
    assert admin.value("select count(*) from pgbackground.job") == 1
    assert len(launcher.listed()) == 1
    workers = "select count(*) from pg_stat_activity where datname = %s and usename = %s"
    user = launcher.value("select current_user::text")
    eventually(lambda: admin.value(workers, [db.name, user]) == 2)


SPAN = (
    "insert into span (n) values ({n}); select pg_sleep(0.004);"
    " update span set ended = clock_timestamp() where n = {n}"
)


def launch_from_everywhere(
    sessions: list[Session], texts: list[list[str]]
) -> tuple[list[Handle], int]:
    """Launch each session's texts, all sessions at once; the handles, and how many were refused."""
    start = threading.Barrier(len(sessions))

    def work(session: Session, own: list[str]) -> tuple[list[Handle], int]:
        start.wait(30)
        jobs, refused = [], 0
        for text in own:
            try:
                jobs.append(session.launch(text))
            except FULL:
                refused += 1
        return jobs, refused

    with ThreadPoolExecutor(len(sessions)) as pool:
        answers = list(pool.map(work, sessions, texts))
    return [job for jobs, _ in answers for job in jobs], sum(refused for _, refused in answers)


@pytest.fixture
def span(admin: Session) -> None:
    """Make the table that the jobs of many write to."""
    admin.execute(
        "create table public.span (n int4, began timestamptz default clock_timestamp(),"
        " ended timestamptz); grant all on public.span to public"
    )


@pytest.fixture
def crowd(connect: Callable[..., Session], span: None) -> list[Session]:  # noqa: ARG001
    """Give thirty sessions of the plain role."""
    return [connect() for _ in range(30)]


@pytest.mark.parametrize("scope", ["role", "database"])
def test_thirty_launchers_at_once_never_run_more_jobs_than_allowed_and_lose_none(
    crowd: list[Session], admin: Session, scope: str
) -> None:
    limit(admin, scope, 4)
    for session in crowd:
        use_queue(session)
    texts = [[SPAN.format(n=100 * i + j) for j in range(6)] for i in range(len(crowd))]
    jobs, refused = launch_from_everywhere(crowd, texts)
    assert (len(jobs), refused) == (180, 0)
    for job in jobs:
        assert admin.until_ended(job).state == "stopped"
    assert admin.value("select count(*) from span") == 180
    assert admin.value("select count(distinct n) from span") == 180
    assert 1 < most_at_once(admin) <= 4


def test_thirty_launchers_at_once_get_exactly_the_places_there_are(
    crowd: list[Session], admin: Session, gate: Gate
) -> None:
    limit(admin, "role", 7)
    jobs, refused = launch_from_everywhere(crowd, [[gate.sql, gate.sql]] * len(crowd))
    assert (len(jobs), refused) == (7, 53)
    gate.arrived(7)
    assert states(admin, *jobs) == ["running"] * 7
    gate.open()
    for job in jobs:
        assert admin.until_ended(job).state == "stopped"


@pytest.mark.usefixtures("span")
def test_many_launchers_of_two_roles_at_once_keep_both_roles_limits(
    connect: Callable[..., Session], roles: Roles, admin: Session, app: str
) -> None:
    other = roles.create("other")
    limit(admin, "role", 3, app)
    limit(admin, "role", 2, other)
    sessions = [connect(user) for user in (app, other) for _ in range(10)]
    for session in sessions:
        use_queue(session)
    texts = [[SPAN.format(n=100 * i + j) for j in range(6)] for i in range(20)]
    jobs, _ = launch_from_everywhere(sessions, texts)
    for job in jobs:
        assert admin.until_ended(job).state == "stopped"
    assert admin.value("select count(distinct n) from span") == 120
    assert admin.value("select count(*) from span") == 120
    assert most_at_once(admin) <= 5
    for chosen, most in (("n < 1000", 3), ("n >= 1000", 2)):
        assert most_at_once(admin, chosen) <= most


def test_jobs_that_die_in_the_crowd_do_not_take_places_with_them(
    crowd: list[Session], admin: Session
) -> None:
    limit(admin, "database", 3)
    for session in crowd[:15]:
        use_queue(session)
    death = "select pg_terminate_backend(pg_backend_pid())"
    texts = [[SPAN.format(n=10 * i), death, SPAN.format(n=10 * i + 1)] for i in range(15)]
    jobs, _ = launch_from_everywhere(crowd[:15], texts)
    with ThreadPoolExecutor(15) as pool:
        list(pool.map(lambda i: [crowd[i].wait(job) for job in jobs[3 * i : 3 * i + 3]], range(15)))
    ends = sorted(admin.outcome(job).state or "" for job in jobs)
    assert ends == ["error"] * 15 + ["stopped"] * 30
    assert admin.value("select count(distinct n) from span") == 30
    assert most_at_once(admin) <= 3
