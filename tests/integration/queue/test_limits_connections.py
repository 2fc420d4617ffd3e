"""Connections: jobs leave some for people, and say so in time; a database has a cap from the start."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from tests.fix_wait import eventually
from tests.integration.queues import use_queue
from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.product import install

MOST = 24
RESERVED = 2


class Small:
    """A server with few connections."""

    def __init__(self, server: LocalServer, stack: ExitStack) -> None:
        self.server = server
        self.stack = stack
        self.admin = self.connect("postgres")

    def connect(self, user: str = "app") -> Session:
        """Open a session that ends with the test."""
        connection = psycopg.connect(self.server.dsn(user=user), autocommit=True)
        self.stack.callback(connection.close)
        return Session(connection)

    def free(self) -> int:
        """How many connections nobody has."""
        taken: int = self.admin.value(
            "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        )
        return MOST - taken

    def margin(self, value: str | None) -> None:
        """Set the DBA's margin."""
        self.admin.execute("delete from background.pg_background_config")
        if value is not None:
            self.admin.execute(
                "insert into background.pg_background_config values ('free_connections', %s)",
                [value],
            )


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Give a server with few connections and the product in its database."""
    settings = {"max_connections": MOST, "superuser_reserved_connections": RESERVED}
    with LocalServer(settings=settings) as running:
        install(running.dsn())
        with psycopg.connect(running.dsn(), autocommit=True) as connection:
            connection.execute("create role app login; grant pgbackground_role to app")
        yield running


@pytest.fixture
def small(server: LocalServer) -> Iterator[Small]:
    """Give that server with nobody on it, its margin and limits as after the installation."""
    with ExitStack() as stack:
        made = Small(server, stack)
        made.margin(None)
        made.admin.execute("delete from background.pg_background_limits")
        yield made
        made.admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        eventually(lambda: made.free() == MOST - 1)


def launch_until_refused(session: Session) -> tuple[int, psycopg.Error]:
    """Launch jobs that stay; how many there are when one is refused, and the refusal."""
    for count in range(MOST + 1):
        try:
            session.launch("select pg_sleep(600)")
        except psycopg.Error as refusal:
            return count, refusal
    pytest.fail("nothing was refused")


def lift_limits(small: Small, session: Session) -> None:
    """Let only connections count."""
    small.admin.execute(
        "insert into background.pg_background_limits (scope, max_workers)"
        " values ('database', 999) on conflict do nothing"
    )
    session.execute("set pg_background.max_workers = 999")


def test_from_installation_on_a_database_has_half_of_all_connections_for_jobs(small: Small) -> None:
    launcher = small.connect()
    launcher.execute("set pg_background.max_workers = 1000")
    count, refusal = launch_until_refused(launcher)
    assert count == MOST // 2
    assert refusal.sqlstate == "53400"
    assert refusal.diag.message_detail == (
        f"Current limit is {MOST // 2} concurrent workers per database."
    )
    small.admin.execute(
        "insert into background.pg_background_limits (scope, max_workers) values ('database', 14)"
    )
    assert launch_until_refused(launcher)[0] == 2


def test_a_chain_of_jobs_that_launch_jobs_ends_at_the_cap_of_the_database(small: Small) -> None:
    launcher = small.connect()
    small.admin.execute(
        "create or replace function public.chain() returns void language plpgsql as $f$"
        " declare failed text; begin"
        "   perform background.pg_background_launch('select public.chain()');"
        "   perform pg_sleep(600);"
        " exception when configuration_limit_exceeded then perform pg_sleep(600); end $f$"
    )
    launcher.launch("select public.chain()")
    running = "select count(*) from background.pg_background_jobs where state = 'running'"
    eventually(lambda: small.admin.value(running) == MOST // 2)
    asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    eventually(lambda: small.admin.value(asleep) == MOST // 2)
    assert small.admin.value(running) == MOST // 2


@pytest.mark.parametrize(("margin", "left"), [(None, 3), ("0", 0), ("7", 7)])
def test_launch_refuses_before_the_connections_that_are_for_people_are_taken(
    small: Small, margin: str | None, left: int
) -> None:
    small.margin(margin)
    launcher = small.connect()
    lift_limits(small, launcher)
    _, refusal = launch_until_refused(launcher)
    assert refusal.sqlstate == "53300"
    assert refusal.diag.message_primary == (
        "pg_background: no connection is left for a background worker"
    )
    assert f"{RESERVED} of them are reserved by the server" in (refusal.diag.message_detail or "")
    assert "free_connections" in (refusal.diag.message_hint or "")
    assert small.free() == RESERVED + left
    for _ in range(left):
        small.connect()
    with pytest.raises(psycopg.OperationalError, match="remaining connection slots"):
        small.connect()
    small.connect("postgres")


def test_launches_within_one_transaction_are_counted_as_well(small: Small) -> None:
    launcher = small.connect()
    lift_limits(small, launcher)
    launcher.execute("begin; select count(*) from pg_stat_activity")
    assert launch_until_refused(launcher)[1].sqlstate == "53300"
    assert small.free() == RESERVED + 3
    launcher.execute("rollback")


def test_an_idle_link_is_used_even_when_no_connection_is_left(small: Small) -> None:
    launcher = small.connect()
    lift_limits(small, launcher)
    launcher.wait(launcher.launch("select 1"))
    small.margin(str(MOST))
    for n in range(3):
        assert launcher.result(launcher.launch(f"select {n}"), "n int4") == [(n,)]
    with pytest.raises(psycopg.errors.TooManyConnections):
        small.connect().launch("select 1")


def test_a_margin_that_is_no_number_is_named(small: Small) -> None:
    small.margin("a few")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="free_connections"):
        small.connect().launch("select 1")


def test_a_refused_launch_leaves_no_job_behind(small: Small) -> None:
    launcher = small.connect()
    before = small.admin.value("select count(*) from pgbackground.job")
    small.margin(str(MOST))
    launcher.execute("set pg_background.worker_timeout = '10s'")
    with pytest.raises(psycopg.errors.TooManyConnections):
        launcher.launch("select 1")
    assert small.admin.value("select count(*) from pgbackground.job") == before
    assert launcher.listed() == []
    small.margin(None)
    assert launcher.wait(launcher.launch("select 1"))


@pytest.mark.parametrize("timeout", ["0", "60s"])
def test_queued_jobs_wait_while_no_connection_is_left_and_none_is_lost(
    small: Small, timeout: str
) -> None:
    launcher = small.connect()
    use_queue(launcher, 1)
    launcher.execute(f"set pg_background.worker_timeout = '{timeout}'")
    first = launcher.launch("select pg_sleep(600)")
    jobs = [launcher.launch("select 1") for _ in range(4)]
    launcher.close()
    small.margin(str(MOST))
    assert small.admin.value("select pg_terminate_backend(%s, 10000)", [first.pid])
    other = small.connect()
    assert other.wait(jobs[0], 200) is False
    assert {other.outcome(job).state for job in jobs} == {"queued"}
    small.margin(None)
    for job in jobs:
        assert other.wait(job)
        assert other.outcome(job).state == "stopped"


def test_many_launchers_at_once_leave_the_connections_for_people(small: Small) -> None:
    sessions = [small.connect() for _ in range(8)]
    for session in sessions:
        lift_limits(small, session)

    def work(session: Session) -> str | None:
        try:
            for _ in range(MOST):
                session.launch("select pg_sleep(600)")
        except psycopg.Error as refusal:
            return refusal.sqlstate
        return None

    with ThreadPoolExecutor(len(sessions)) as pool:
        assert set(pool.map(work, sessions)) == {"53300"}
    eventually(lambda: small.free() >= RESERVED + 3)
    # Those that saw each other may both have given way: one after the other gets what is left.
    lift_limits(small, sessions[0])
    launch_until_refused(sessions[0])
    eventually(lambda: small.free() == RESERVED + 3)
