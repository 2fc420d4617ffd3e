"""Enqueued work of every kind survives a restart, a crash, and the promotion of a standby."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_wait import eventually
from tests.integration.operations.test_failover import Pair, following
from tests.integration.queues import enqueue, limit
from tests.integration.session import Handle, Session
from tools.local_server import LocalServer
from tools.product import install


@pytest.fixture
def throw_away() -> Iterator[LocalServer]:
    """Give a durable server of its own with the product and a user, app."""
    with LocalServer(durable=True) as local:
        install(local.dsn())
        with psycopg.connect(local.dsn(), autocommit=True) as admin:
            admin.execute("create role app login; grant pgbackground_role to app")
            admin.execute("grant create on schema public to app")
        yield local


@pytest.fixture
def doomed_pair() -> Iterator[Pair]:
    """Give two servers of which the primary will be lost."""
    with following() as made:
        yield made


def insert(number: int) -> str:
    """The statement of a job that leaves its number behind."""
    return f"insert into public.done values ({number})"


def waiting(session: Session, admin: Session) -> dict[str, Handle]:
    """Queue a job of each kind, behind one that runs and takes the role's only place until somebody says go."""
    session.execute("create table public.done (n int4)")
    limit(admin, "role", 1, "app")
    goes = "select pg_sleep(case when to_regclass('public.stop') is null then 600 else 0 end)"
    session.execute("begin")
    jobs = {"running": enqueue(session, f"{insert(1)}; {goes}", attempts=2, backoff="0 s")}
    session.execute("commit")
    eventually(lambda: session.job(jobs["running"])["state"] == "running")
    session.execute("begin")
    jobs["without a place"] = enqueue(session, insert(2), priority=-1)
    jobs["child"] = enqueue(session, insert(3), after=[jobs["running"].cookie])
    soon = session.value("select clock_timestamp() + interval '3 s'")
    jobs["due later"] = enqueue(session, insert(4), run_at=soon)
    jobs["with a key"] = enqueue(session, insert(5), key="one")
    session.execute("commit")
    session.execute("begin")
    jobs["rolled back"] = enqueue(session, insert(6))
    session.execute("rollback")
    return jobs


def all_end_once(session: Session, jobs: dict[str, Handle]) -> None:
    """Say go, and wait for all of them."""
    assert session.outcome(jobs.pop("rolled back")).state is None
    assert enqueue(session, insert(7), key="one") == (0, jobs["with a key"].cookie)
    for kind, job in jobs.items():
        assert session.wait(job, 30_000), kind
        assert session.outcome(job).state == "stopped", kind
    assert session.rows("select n from public.done order by n") == [(n,) for n in range(1, 6)]
    assert session.job(jobs["running"])["attempt"] == 2
    assert session.job(jobs["child"])["attempt"] == 1


@pytest.mark.parametrize("way", ["restart", "crash"])
def test_work_that_waits_survives_the_end_of_the_server(throw_away: LocalServer, way: str) -> None:
    def connect(user: str) -> Session:
        return Session(psycopg.connect(throw_away.dsn(user=user), autocommit=True))

    session, admin = connect("app"), connect("postgres")
    jobs = waiting(session, admin)
    if way == "crash":
        throw_away.crash()
    throw_away.restart()
    session.close()
    admin.close()
    session = connect("app")
    session.execute("create table public.stop ()")
    all_end_once(session, jobs)
    session.close()


def test_work_that_waits_goes_on_on_the_new_primary(doomed_pair: Pair) -> None:
    session = doomed_pair.connect(doomed_pair.primary)
    jobs = waiting(session, doomed_pair.connect(doomed_pair.primary, "postgres"))
    doomed_pair.until_replayed()
    doomed_pair.fail_over()
    observer = doomed_pair.connect(doomed_pair.standby)
    observer.execute("create table public.stop ()")
    all_end_once(observer, jobs)
