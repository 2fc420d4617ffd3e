"""When every connection is in use, a job can still be canceled, and no other job is hit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate, eventually
from tests.integration.session import Handle, Session
from tools.local_server import LocalServer
from tools.product import install

MOST = 12
RESERVED = 2
STUBBORN = """
do $$ begin
    loop
        begin perform pg_sleep(1000); exception when query_canceled then null; end;
    end loop;
end $$"""


class House:
    """A server with few connections, and how to take all of them."""

    def __init__(self, server: LocalServer, stack: ExitStack) -> None:
        self.server = server
        self.stack = stack
        self.chief = self.connect("postgres")

    def connect(self, user: str = "app") -> Session:
        """Open a session that ends with the test."""
        connection = psycopg.connect(self.server.dsn(user=user), autocommit=True)
        self.stack.callback(connection.close)
        return Session(connection)

    def fill(self) -> None:
        """Take every connection, those for superusers, too."""
        self.fill_as("postgres")

    def fill_as(self, user: str) -> None:
        """Take every connection that this user can get."""
        for _ in range(MOST + 1):
            try:
                self.connect(user)
            except psycopg.OperationalError:
                return
        pytest.fail("no connection was refused")

    def link_is_refused(self, session: Session) -> bool:
        """Can this session get no connection for a job?"""
        try:
            session.launch("select 1")
        except psycopg.errors.TooManyConnections:
            return True
        return False


@pytest.fixture(scope="module")
def few() -> Iterator[LocalServer]:
    """Give a server with few connections and the product in its database."""
    settings = {"max_connections": MOST, "superuser_reserved_connections": RESERVED}
    with LocalServer(settings=settings) as running:
        install(running.dsn())
        with psycopg.connect(running.dsn(), autocommit=True) as connection:
            connection.execute("create role app login; grant pgbackground_role to app")
            connection.execute("create role other login; grant pgbackground_role to other")
            connection.execute("grant create on schema public to app")
        yield running


@pytest.fixture
def house(few: LocalServer) -> Iterator[House]:
    """Give that server with nobody on it."""
    with ExitStack() as stack:
        made = House(few, stack)
        yield made
        others = (
            "select count(*), count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        eventually(lambda: made.chief.rows(others)[0][0] == 0)


def until_running(house: House, session: Session) -> Handle:
    """Launch a job that sleeps, and return when it does."""
    job = session.launch("select pg_sleep(600)")
    eventually(lambda: (house.chief.backend(job.pid) or {})["wait_event"] == "PgSleep")
    return job


def test_a_plain_user_whose_session_has_no_link_cancels_a_running_job(house: House) -> None:
    launcher, user = house.connect(), house.connect()
    job = until_running(house, launcher)
    house.fill()
    assert house.link_is_refused(user)
    user.cancel(job)
    assert user.wait(job, 10000)
    assert user.outcome(job).state == "canceled"
    assert user.job(job)["cancel_requested"] is True


def test_a_superuser_on_a_reserved_connection_cancels_a_job_of_anybody(house: House) -> None:
    job = until_running(house, house.connect())
    house.fill_as("app")
    reserved = house.connect("postgres")
    house.fill()
    reserved.cancel(job)
    assert reserved.wait(job, 10000)
    assert reserved.outcome(job).state == "canceled"


def test_a_cancel_within_a_transaction_that_is_rolled_back_holds(house: House) -> None:
    launcher, user = house.connect(), house.connect()
    job = until_running(house, launcher)
    house.fill()
    user.execute("begin")
    user.cancel(job)
    user.execute("rollback")
    assert user.wait(job, 10000)
    assert user.outcome(job).state == "canceled"


@pytest.mark.parametrize(
    "mode", ["read only", "isolation level repeatable read", "isolation level serializable"]
)
def test_a_cancel_within_any_kind_of_transaction_holds(house: House, mode: str) -> None:
    launcher, user = house.connect(), house.connect()
    job = until_running(house, launcher)
    house.fill()
    user.execute(f"begin {mode}")
    user.cancel(job)
    user.execute("commit")
    assert user.wait(job, 10000)
    assert user.outcome(job).state == "canceled"


def test_an_open_transaction_that_has_canceled_keeps_nothing_from_its_end(house: House) -> None:
    launcher, user = house.connect(), house.connect()
    job = until_running(house, launcher)
    house.fill()
    user.execute("begin")
    user.cancel(job)
    assert launcher.wait(job, 10000)
    assert launcher.outcome(job).state == "canceled"
    user.execute("commit")


def test_a_grace_ends_the_worker_of_a_job_that_does_not_heed_it(house: House) -> None:
    launcher, user = house.connect(), house.connect()
    job = launcher.launch(STUBBORN)
    eventually(lambda: (house.chief.backend(job.pid) or {})["wait_event"] == "PgSleep")
    house.fill()
    user.cancel(job, 200)
    house.chief.until_gone(job.pid)
    assert user.outcome(job).state == "canceled"


def test_a_queued_job_is_canceled_with_the_callers_transaction(house: House) -> None:
    launcher, user = house.connect(), house.connect()
    launcher.execute("set pg_background.max_workers = 1; set pg_background.when_full = queue")
    until_running(house, launcher)
    queued = launcher.launch("select 1")
    house.fill()
    user.execute("begin")
    user.cancel(queued)
    user.execute("rollback")
    assert user.outcome(queued).state == "queued"
    user.cancel(queued)
    assert user.outcome(queued).state == "canceled"


def test_who_may_not_cancel_a_job_may_not_do_so_without_a_connection_either(house: House) -> None:
    job = until_running(house, house.connect())
    stranger = house.connect("other")
    house.fill()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.cancel(job)
    with pytest.raises(psycopg.errors.UndefinedObject):
        stranger.cancel(Handle(job.pid + 1, job.cookie + 1))
    assert house.chief.outcome(job).state == "running"


def test_a_job_can_be_let_go_of_without_a_connection(house: House) -> None:
    launcher, user = house.connect(), house.connect()
    job = until_running(house, launcher)
    house.fill()
    user.detach(job)
    assert user.job(job)["detached"] is True


def test_cancel_all_serves_a_session_whose_links_are_all_busy(house: House) -> None:
    launcher = house.connect()
    jobs = [until_running(house, launcher) for _ in range(3)]
    house.fill()
    assert launcher.value("select background.pg_background_cancel_all()") == 3
    for job in jobs:
        assert launcher.finished(job).state == "canceled"


@pytest.fixture
def lonely(connect: Callable[..., Session], roles: Roles, app: str, admin: Session) -> Session:
    """Give a session that may cancel the plain role's jobs and gets no connection for that."""
    name = roles.create("lonely", options="connection limit 1")
    roles.grant(app, name)
    session = connect(name)
    with pytest.raises(psycopg.errors.TooManyConnections):
        session.launch("select 1")
    assert admin.value("select pg_has_role(%s, %s, 'usage')", [name, app])
    return session


@pytest.mark.parametrize("ending", ["", "begin; {}; rollback"])
def test_no_cancel_without_a_connection_reaches_the_next_job_of_a_worker(
    launcher: Session, lonely: Session, ending: str
) -> None:
    """Cancels are thrown at jobs just when they end; those that follow on the link must live."""
    launcher.execute("create table t (n int4)")
    canceled = 0
    fates = {("stopped", None), ("canceled", "57014")}
    if ending:
        fates.add(("error", "57P01"))
    delays = random.Random(6)  # noqa: S311
    for turn in range(300):
        job = launcher.launch(f"select pg_sleep({delays.uniform(0, 0.004)})")
        other = lonely.connection.pgconn
        cancel = f"select background.pg_background_cancel({job.pid}, {job.cookie})"
        other.send_query((ending or "{}").format(cancel).encode())
        assert launcher.wait(job, 10000), f"turn {turn}: neither canceled nor ended"
        victim = launcher.launch(f"insert into t values ({turn}); select pg_sleep(0.0005)")
        fate = launcher.finished(victim)
        assert (fate.state, fate.sqlstate) == ("stopped", None), f"turn {turn}"
        while (answer := other.get_result()) is not None:
            assert answer.status != psycopg.pq.ExecStatus.FATAL_ERROR, answer.error_message
        state, sqlstate = launcher.outcome(job).state, launcher.outcome(job).sqlstate
        # Hit outside of its statements, and the request is gone: what is left is that it has no effects.
        assert (state, sqlstate) in fates, f"turn {turn}"
        canceled += state != "stopped"
    assert canceled > 0, "no cancel came in time: the test tests nothing"
    assert launcher.value("select count(*) from t") == 300


def test_no_cancel_without_a_connection_reaches_the_next_job_of_the_queue(
    launcher: Session, lonely: Session
) -> None:
    launcher.execute("create table t (n int4)")
    launcher.execute("set pg_background.max_workers = 1; set pg_background.when_full = queue")
    delays = random.Random(7)  # noqa: S311
    canceled = 0
    for turn in range(100):
        job = launcher.launch(f"select pg_sleep({delays.uniform(0.005, 0.03)})")
        victims = [
            launcher.launch(f"insert into t values ({turn}); select pg_sleep(0.0005)")
            for _ in range(2)
        ]
        lonely.cancel(job)
        for victim in victims:
            fate = launcher.finished(victim)
            assert (fate.state, fate.sqlstate) == ("stopped", None), f"turn {turn}"
        canceled += launcher.finished(job).state == "canceled"
    assert canceled > 0, "no cancel came in time: the test tests nothing"
    assert launcher.value("select count(*) from t") == 200


def test_a_worker_whose_job_is_just_being_canceled_takes_no_other_job(
    launcher: Session, lonely: Session, admin: Session, gate: Gate
) -> None:
    """The canceler is stopped between his look at the job and his signal."""
    job = launcher.launch(gate.sql)
    gate.arrived()
    admin.execute(
        "alter function pgbackground.send_signal(pgbackground.job, bool) rename to real_signal"
    )
    held = 4711
    admin.execute("select pg_advisory_lock(%s)", [held])
    admin.execute(
        "create function pgbackground.send_signal(j pgbackground.job, hard bool) returns bool"
        f" language plpgsql as $$ begin perform pg_advisory_xact_lock({held});"
        " return pgbackground.real_signal(j, hard); end $$"
    )
    canceler = lonely.connection.pgconn
    canceler.send_query(f"select background.pg_background_cancel({job.pid}, {job.cookie})".encode())
    eventually(lambda: admin.pid in admin.value("select pg_blocking_pids(%s)", [lonely.pid]))
    gate.open()
    assert launcher.finished(job).state == "stopped"
    following = launcher.launch("select 1")
    assert following.pid != job.pid
    assert launcher.finished(following).state == "stopped"
    admin.execute("select pg_advisory_unlock(%s)", [held])
    while (answer := canceler.get_result()) is not None:
        assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, answer.error_message
