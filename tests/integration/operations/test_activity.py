"""pg_stat_activity tells which job a worker runs, what it is called and how far it is."""

from __future__ import annotations

import pytest

from tests.fix_wait import Gate, eventually
from tests.integration.session import Session


def test_application_name_is_the_label_until_progress_is_reported(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    second = Gate(observer.connection)
    job = launcher.launch(
        f"{gate.sql}; select background.pg_background_report_progress(42, 'halfway'); {second.sql}",
        label="nightly",
    )
    gate.arrived()
    backend = observer.backend(job.pid)
    assert backend is not None
    assert backend["application_name"] == "pg_background [nightly]"
    gate.open()
    second.arrived()
    backend = observer.backend(job.pid)
    assert backend is not None
    assert backend["application_name"] == "pg_background: 42% halfway"
    second.open()
    launcher.wait(job)
    observer.until_idle(job.pid)
    backend = observer.backend(job.pid)
    assert backend is not None
    assert backend["application_name"] == "pg_background"


def test_the_query_text_begins_with_the_jobs_own_sql(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    statement = f"select 'a /* comment */ and a ''quote'''; {gate.sql}"
    job = launcher.launch(statement)
    gate.arrived()
    backend = observer.backend(job.pid)
    assert backend is not None
    assert backend["query"].startswith("/* select 'a / * comment * / and a ''quote'''; ")
    assert str(job.cookie) in backend["query"]
    gate.open()


def test_a_long_text_is_shown_from_its_beginning(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    job = launcher.launch(f"select '{'x' * 5000}'; {gate.sql}")
    gate.arrived()
    backend = observer.backend(job.pid)
    assert backend is not None
    assert backend["query"].startswith("/* select 'xxxxx")
    gate.open()


@pytest.mark.parametrize("label", [None, "weekly"])
def test_the_executor_of_a_top_level_job_shows_the_statement_itself(
    launcher: Session, observer: Session, gate: Gate, label: str | None
) -> None:
    launcher.execute("create table t (n int4)")
    launcher.execute("grant all on t to public")
    gate.lock_table("t")
    job = launcher.launch("vacuum (analyze) t", label=label)
    executor = gate.arrived()[0]
    assert observer.job(job)["executor_pid"] == executor
    backend = observer.backend(executor)
    assert backend is not None
    assert backend["query"] == "vacuum (analyze) t"
    assert backend["application_name"] == f"pg_background{' [weekly]' if label else ''}"
    gate.open()
    launcher.wait(job)
    eventually(lambda: observer.backend(executor) is None)


def test_pg_background_activity_joins_the_launchers_jobs_with_it(
    launcher: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql, label="nightly")
    gate.arrived()
    found = launcher.rows(
        "select backend_state, wait_event_type, wait_event, label"
        " from background.pg_background_activity where cookie = %s",
        [job.cookie],
    )
    assert found == [("active", "Lock", "advisory", "nightly")]
    gate.open()
