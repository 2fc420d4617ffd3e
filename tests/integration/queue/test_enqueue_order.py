"""Who comes first: roles are fair to each other, and within a role the priority counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import Stops, ended, enqueue, limit, states, until_running
from tests.integration.session import Session


@pytest.fixture
def stops(db: Database) -> Stops:
    """Give stops that are all let go when the test ends."""
    return Stops(db.connect(application_name="stops"))


def test_a_role_with_a_long_queue_of_high_priority_leaves_a_place_to_another_one(
    launcher: Session, connect: Callable[..., Session], roles: Roles, admin: Session, stops: Stops
) -> None:
    modest = connect(roles.create("modest"))
    limit(admin, "database", 0)
    launcher.execute("begin")
    many = [enqueue(launcher, stops.at(n), priority=100) for n in range(6)]
    launcher.execute("commit")
    modest.execute("begin")
    few = [enqueue(modest, stops.at(100 + n), priority=-100) for n in range(2)]
    modest.execute("commit")
    limit(admin, "database", 2)
    assert not launcher.wait(many[0], 1)
    until_running(admin, many[0], few[0])
    assert states(admin, *many[1:], few[1]) == ["queued"] * 6
    # The place that a job of the many leaves is theirs again, as the other role has one.
    stops.release(0)
    until_running(admin, many[1], few[0])
    stops.release(100)
    until_running(admin, many[1], few[1])
    stops.release(101)
    until_running(admin, many[1], many[2])
    assert states(admin, *few) == ["stopped"] * 2


def test_a_job_of_higher_priority_overtakes_those_that_wait_and_not_the_one_that_runs(
    launcher: Session, admin: Session, stops: Stops
) -> None:
    limit(admin, "role", 1, launcher.connection.info.user)
    first = enqueue(launcher, stops.at(0))
    until_running(admin, first)
    second = enqueue(launcher, stops.at(1))
    urgent = enqueue(launcher, stops.at(2), priority=1)
    assert states(admin, first, second, urgent) == ["running", "queued", "queued"]
    stops.release(0)
    until_running(admin, urgent)
    assert states(admin, second) == ["queued"]
    stops.release(1, 2)
    assert ended(launcher, second) == ("stopped", None)


@pytest.mark.parametrize("release", ["time", "parent"])
def test_what_has_become_ready_is_ordered_by_priority_too(
    launcher: Session, admin: Session, gate: Gate, release: str
) -> None:
    launcher.execute("create table t (id int4 generated always as identity, n int4)")
    limit(admin, "role", 1, launcher.connection.info.user)
    holds = enqueue(launcher, gate.sql)
    gate.arrived()
    launcher.execute("begin")
    if release == "time":
        soon = launcher.value("select clock_timestamp() + interval '0.3 s'")
        options = {"run_at": soon}
    else:
        options = {"after": [holds.cookie]}
    jobs = [
        enqueue(launcher, f"insert into t (n) values ({n})", priority=n % 3, **options)
        for n in range(9)
    ]
    launcher.execute("commit")
    if release == "time":
        ready = "select count(*) from pgbackground.job where state = 'queued' and run_at is null"
        eventually(lambda: admin.value(ready) == 9)
    gate.open()
    for job in jobs:
        assert ended(launcher, job) == ("stopped", None)
    found = [n % 3 for (n,) in launcher.rows("select n from t order by id")]
    assert found == [2, 2, 2, 1, 1, 1, 0, 0, 0]
