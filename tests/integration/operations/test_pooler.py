"""Behind a pooler: jobs that another session has let go of are none of this one's any longer."""

from __future__ import annotations

import pytest

from tests.fix_wait import Gate, eventually
from tests.integration.session import Handle, Session


def cookies(session: Session) -> list[int]:
    """The jobs that the session counts as its own."""
    return [row[1] for row in session.listed()]


def detach_elsewhere(session: Session, job: Handle) -> None:
    """Let go of a job from a session that has not launched it, and wait until that is known."""
    session.detach(job)
    eventually(lambda: session.job(job)["detached"])


def test_a_job_that_was_detached_elsewhere_leaves_the_launchers_list(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    ended = launcher.launch("select 1")
    launcher.wait(ended)
    running, own = launcher.launch(gate.sql), launcher.launch(gate.sql)
    gate.arrived(2)
    assert cookies(launcher) == [ended.cookie, running.cookie, own.cookie]
    for job in (ended, running):
        detach_elsewhere(observer, job)
    assert cookies(launcher) == [own.cookie]
    assert cookies(observer) == []


@pytest.mark.parametrize(
    ("verb", "affected"), [("cancel_all", 1), ("detach_all", 1), ("cancel_by_label", 1)]
)
def test_what_is_done_to_all_jobs_spares_those_that_were_detached_elsewhere(
    launcher: Session, observer: Session, gate: Gate, verb: str, affected: int
) -> None:
    other, own = (launcher.launch(gate.sql, label="x") for _ in range(2))
    gate.arrived(2)
    detach_elsewhere(observer, other)
    arguments = ["%"] if verb == "cancel_by_label" else []
    assert launcher.call(verb, *arguments) == [(affected,)]
    gate.open()
    assert launcher.finished(other).state == "stopped"
    assert launcher.finished(own).state == ("stopped" if verb == "detach_all" else "canceled")
