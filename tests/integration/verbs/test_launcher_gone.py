"""A job goes on when its launcher has left, and its outcome can be read by others."""

from __future__ import annotations

import pytest

from tests.fix_wait import Gate
from tests.integration.session import Handle, Session


def leave(launcher: Session, observer: Session, job_text: str, gate: Gate) -> Handle:
    """Launch a job that stands before the gate, end the launcher, and let the job go on."""
    pid = launcher.pid
    job = launcher.launch(job_text)
    gate.arrived()
    launcher.close()
    observer.until_gone(pid)
    gate.open()
    return job


def test_a_job_commits_after_its_launcher_has_left(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    text = f"insert into t values (1); {gate.sql}; insert into t values (2)"
    job = leave(launcher, observer, text, gate)
    assert observer.finished(job).state == "stopped"
    assert observer.rows("select n from t order by n") == [(1,), (2,)]


@pytest.mark.parametrize("severity", ["notice", "warning", "log", "debug"])
def test_a_job_that_emits_messages_survives_its_launcher(
    launcher: Session, observer: Session, gate: Gate, severity: str
) -> None:
    launcher.execute("create table t (n int4)")
    text = f"""
        {gate.sql};
        do $$ begin for i in 1 .. 1000 loop raise {severity} 'message % of the job', i; end loop; end $$;
        insert into t values (1);
        drop table if exists no_such_table"""
    job = leave(launcher, observer, text, gate)
    assert observer.finished(job).state == "stopped"
    assert observer.rows("select n from t") == [(1,)]


def test_twenty_thousand_rows_can_be_read_after_the_launcher_has_left(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    text = f"{gate.sql}; select n, repeat('x', 100) || n from generate_series(1, 20000) n"
    job = leave(launcher, observer, text, gate)
    rows = observer.result(job, "n int4, t text")
    assert rows == [(n, "x" * 100 + str(n)) for n in range(1, 20001)]
    assert observer.outcome(job).row_count == 20000


def test_a_job_with_rows_messages_and_a_slow_end_survives_a_terminated_launcher(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch(f"""
        do $$ begin raise notice 'before'; end $$;
        {gate.sql};
        do $$ begin raise warning 'after'; end $$;
        insert into t select generate_series(1, 20000) returning n""")
    gate.arrived()
    assert admin.value("select pg_terminate_backend(%s, 10000)", [launcher.pid])
    gate.open()
    assert observer.finished(job).state == "stopped"
    assert observer.value("select count(*) from t") == 20000
    assert len(observer.result(job, "n int4")) == 20000


def test_the_failure_of_a_job_is_known_after_its_launcher_has_left(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = leave(launcher, observer, f"{gate.sql}; select 1 / 0", gate)
    assert observer.finished(job).sqlstate == "22012"


def test_a_top_level_job_goes_on_after_its_launcher_has_left(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    gate.lock_table("t")
    job = leave(launcher, observer, "vacuum (verbose) t", gate)
    assert observer.finished(job).state == "stopped"
    assert observer.job(job)["mode"] == "top-level"


def test_a_session_that_waits_for_the_job_of_another_is_not_disturbed_by_its_end(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = leave(launcher, observer, gate.sql, gate)
    assert observer.wait(job)
    assert observer.outcome(job).state == "stopped"


def test_a_worker_ends_soon_after_its_launcher_when_it_has_nothing_to_do(
    launcher: Session, observer: Session
) -> None:
    job = launcher.launch("select 1")
    launcher.wait(job)
    launcher.close()
    observer.until_gone(job.pid)
    assert observer.outcome(job).state == "stopped"
