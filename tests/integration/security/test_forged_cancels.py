"""Who knows a job's cookie, and has no right to it, cancels nothing by what he holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.queues import limit
from tests.integration.session import Session

MODES = ("pg_advisory_lock", "pg_advisory_lock_shared")


@pytest.fixture
def stranger(connect: Callable[..., Session], roles: Roles) -> Session:
    """A session of a role that may run jobs, and has no right to anybody else's."""
    return connect(roles.create("stranger"))


def keys_of(cookie: int) -> Iterator[tuple[int, ...]]:
    """The keys that can be made of a cookie."""
    high, low = cookie >> 32, cookie & 0xFFFFFFFF
    yield from ((cookie,), (-cookie,), (high, low - 2**31))
    if low < 2**31:
        yield (high, low)


def hold(session: Session, cookie: int, mode: str) -> None:
    """Take every advisory lock that can be made of a cookie."""
    for key in keys_of(cookie):
        places = "%s::int8" if len(key) == 1 else "%s::int4, %s::int4"
        session.execute(f"select {mode}({places})", list(key))


@pytest.mark.parametrize("mode", MODES)
def test_a_queued_job_whose_cookie_a_stranger_knows_runs_all_the_same(
    launcher: Session, admin: Session, stranger: Session, gate: Gate, mode: str
) -> None:
    limit(admin, "database", 1)
    first = launcher.launch(gate.sql)
    gate.arrived()
    launcher.execute("set pg_background.when_full = 'queue'")
    queued = launcher.launch("select 7")
    hold(stranger, queued.cookie, mode)
    gate.open()
    assert launcher.finished(first).state == "stopped"
    assert launcher.result(queued, "n int4") == [(7,)]
    # Not after the next job on the same link either.
    assert launcher.finished(launcher.launch("select 8")).state == "stopped"


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_raises_a_cancels_error_itself_is_not_told_as_canceled(
    launcher: Session, stranger: Session, gate: Gate, mode: str
) -> None:
    job = launcher.launch(
        f"{gate.sql}; do $$ begin raise exception 'no' using errcode = '57014'; end $$"
    )
    gate.arrived()
    hold(stranger, job.cookie, mode)
    gate.open()
    assert launcher.finished(job).state == "error"
    assert launcher.job(job)["cancel_requested"] is False
