"""Progress is seen by others before the job commits, and stays readable after its end."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_wait import Gate
from tests.integration.session import Handle, Session

REPORT = "select background.pg_background_report_progress"


def progress(session: Session, job: Handle) -> tuple[int | None, str | None]:
    """Read a job's progress."""
    found: tuple[int | None, str | None] = session.call("get_progress", *job)[0]
    row = session.job(job)
    assert found == (row["progress_pct"], row["progress_msg"]), "both ways must tell the same"
    return found


def test_there_is_none_before_the_first_report(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    assert progress(observer, job) == (None, None)
    gate.open()
    launcher.wait(job)
    assert progress(observer, job) == (None, None)


def test_others_see_a_report_before_the_job_commits(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch(
        f"insert into t values (1); {REPORT}(10, 'first'); {REPORT}(42, 'half way'); {gate.sql}"
    )
    gate.arrived()
    for session in (observer, launcher):
        assert progress(session, job) == (42, "half way")
        assert session.rows("select n from t") == []
    gate.open()
    launcher.wait(job)
    for session in (observer, launcher):
        assert progress(session, job) == (42, "half way")


def test_the_last_report_of_a_failed_job_stays_readable(
    launcher: Session, observer: Session
) -> None:
    job = launcher.launch(f"{REPORT}(10); {REPORT}(66, 'then it broke'); select 1 / 0")
    assert launcher.finished(job).state == "error"
    assert progress(observer, job) == (66, "then it broke")


def test_the_last_report_of_a_canceled_job_stays_readable(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(f"{REPORT}(33, 'before'); {gate.sql}")
    gate.arrived()
    launcher.cancel(job)
    assert launcher.finished(job).state == "canceled"
    assert progress(observer, job) == (33, "before")


def test_a_top_level_job_reports(launcher: Session, observer: Session, gate: Gate) -> None:
    waiting = gate.sql.replace("select", "perform")
    job = launcher.launch(
        "do $$ begin perform background.pg_background_report_progress(50, 'half'); commit;"
        f" {waiting}; end $$"
    )
    gate.arrived()
    assert progress(observer, job) == (50, "half")
    gate.open()
    launcher.await_(job)
    assert progress(observer, job) == (50, "half")


@pytest.mark.parametrize(("given", "told"), [(-5, 0), (0, 0), (100, 100), (250, 100)])
def test_percentages_are_clamped(launcher: Session, given: int, told: int) -> None:
    job = launcher.launch(f"{REPORT}({given}, 'x')")
    assert launcher.finished(job).state == "stopped"
    assert progress(launcher, job) == (told, "x")


@pytest.mark.parametrize("message", ['it\'s "quoted" \\', "50% of 100%", "x" * 200])
def test_a_message_comes_back_as_far_as_it_fits(launcher: Session, message: str) -> None:
    quoted = message.replace("'", "''")
    job = launcher.launch(f"{REPORT}(1, '{quoted}')")
    assert launcher.finished(job).state == "stopped"
    told = progress(launcher, job)[1]
    assert told is not None
    assert message.startswith(told)
    assert len(told) >= min(len(message), 40)


def test_a_report_outside_of_a_job_is_refused(launcher: Session) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        launcher.execute(f"{REPORT}(1)")


def test_a_job_that_never_reports_shows_no_progress_of_the_job_before(
    launcher: Session, observer: Session
) -> None:
    first = launcher.launch(f"{REPORT}(99, 'mine'); select 1 / 0")
    launcher.wait(first)
    observer.until_idle(first.pid)
    second = launcher.launch("select 1 / 0")
    launcher.wait(second)
    assert second.pid == first.pid
    assert progress(observer, second) == (None, None)
