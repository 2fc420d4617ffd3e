"""Metrics: what a monitor reads, true to the jobs there are, and no more than the reader may know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate
from tests.integration.verbs import Session


def metrics(session: Session) -> dict[tuple[str, ...], float]:
    """Read the view as {(name, values of its labels...): value}."""
    rows = session.rows("select name, labels, value from background.pg_background_metrics")
    return {(name, *(labels[key] for key in sorted(labels))): value for name, labels, value in rows}


def per_role(found: dict[tuple[str, ...], float], role: str) -> dict[tuple[str, ...], float]:
    """Leave what is said of a role."""
    return {key: value for key, value in found.items() if role in key}


def test_jobs_are_counted_by_state_and_role(
    launcher: Session, observer: Session, gate: Gate, app: str
) -> None:
    for statement in ("select 1", "select 2", "select 1/0", gate.sql):
        job = launcher.launch(statement)
        if statement != gate.sql:
            launcher.wait(job)
    gate.arrived()
    found = metrics(observer)
    assert found["pg_background_jobs", app, "stopped"] == 2
    assert found["pg_background_jobs", app, "error"] == 1
    assert found["pg_background_jobs", app, "running"] == 1
    assert found["pg_background_running",] == 1
    assert found["pg_background_queued",] == 0
    assert found["pg_background_oldest_running_seconds",] > 0
    assert found["pg_background_oldest_queued_seconds",] == 0
    gate.open()


def test_the_names_and_types_are_prometheus_shaped(launcher: Session) -> None:
    launcher.wait(launcher.launch("select 1"))
    rows = launcher.rows(
        "select name, labels, value, pg_typeof(value)::text from background.pg_background_metrics"
    )
    assert {row[3] for row in rows} == {"double precision"}
    for name, labels, value, _ in rows:
        assert name.startswith("pg_background_")
        assert all(isinstance(label, str) for label in labels.values())
        assert value is not None
    series = [(name, sorted(labels.items())) for name, labels, _, _ in rows]
    assert len(series) == len({str(each) for each in series})


def test_durations_are_summed_counted_and_ranked(
    launcher: Session, admin: Session, app: str
) -> None:
    for seconds in range(1, 21):
        job = launcher.launch("select 1")
        launcher.wait(job)
        admin.execute(
            "update pgbackground.job set finished_at = launched_at + %s * interval '1 s'"
            " where cookie = %s",
            (seconds, job.cookie),
        )
    found = metrics(launcher)
    assert found["pg_background_job_duration_seconds_count", app] == 20
    assert found["pg_background_job_duration_seconds_sum", app] == pytest.approx(210)
    assert found["pg_background_job_duration_seconds", "0.5", app] == pytest.approx(10.5)
    assert found["pg_background_job_duration_seconds", "0.95", app] == pytest.approx(19.05)


def test_counters_never_go_back_when_jobs_are_retired(
    launcher: Session, admin: Session, app: str
) -> None:
    admin.execute("insert into background.pg_background_config values ('max_history', '20')")
    before: dict[tuple[str, ...], float] = {}
    counters = ("_finished_total", "_seconds_sum", "_seconds_count")
    for round_ in range(1, 4):
        for number in range(100):
            launcher.wait(launcher.launch("select 1" if number % 4 else "select 1/0"))
        found = {
            key: value
            for key, value in per_role(metrics(launcher), app).items()
            if key[0].endswith(counters)
        }
        assert found["pg_background_jobs_finished_total", app, "stopped"] == 75 * round_
        assert found["pg_background_jobs_finished_total", app, "error"] == 25 * round_
        assert all(found[key] >= value for key, value in before.items())
        before = found
    assert metrics(launcher)["pg_background_jobs", app, "stopped"] < 225


def test_a_user_sees_the_jobs_of_his_own_roles_only(
    launcher: Session, roles: Roles, connect: Callable[..., Session], admin: Session, app: str
) -> None:
    launcher.wait(launcher.launch("select 1"))
    other = connect(roles.create("other"))
    assert not per_role(metrics(other), app)
    assert metrics(other)["pg_background_running",] == 0
    assert ("pg_background_registry_rows", "job") not in metrics(other)
    assert per_role(metrics(admin), app)
    assert metrics(admin)["pg_background_registry_rows", "job"] == 1


def test_a_member_of_pg_monitor_sees_all_of_them_and_nothing_else(
    launcher: Session, roles: Roles, connect: Callable[..., Session], app: str, gate: Gate
) -> None:
    launcher.wait(launcher.launch("select 1"))
    launcher.launch(gate.sql)
    gate.arrived()
    name = roles.create("monitor", member=False)
    roles.grant("pg_monitor", name)
    monitor = connect(name)
    found = metrics(monitor)
    assert found["pg_background_jobs", app, "stopped"] == 1
    assert found["pg_background_jobs", app, "running"] == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        monitor.rows("select * from background.pg_background_jobs")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        monitor.launch("select 1")
    gate.open()


def test_a_role_without_the_rights_sees_nothing(
    roles: Roles, connect: Callable[..., Session]
) -> None:
    stranger = connect(roles.create("stranger", member=False))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        metrics(stranger)


def test_limits_and_free_connections_are_told(
    launcher: Session, admin: Session, connect: Callable[..., Session]
) -> None:
    limit = ("pg_background_limit", "database")
    assert metrics(launcher)[limit] == admin.value(
        "select current_setting('max_connections')::int4 / 2"
    )
    admin.execute("insert into background.pg_background_limits values ('database', null, 7)")
    admin.execute("insert into background.pg_background_limits values ('role', null, 5)")
    found = metrics(launcher)
    assert found[limit] == 7
    assert found["pg_background_limit", "role"] == 5
    free = metrics(admin)["pg_background_free_connections",]
    one_more = connect()
    assert metrics(admin)["pg_background_free_connections",] == free - 1
    one_more.close()


def test_the_registry_tells_its_size(launcher: Session, admin: Session) -> None:
    def size(table: str) -> Any:
        return metrics(admin)["pg_background_registry_bytes", table]

    before = size("job_rows")
    launcher.wait(launcher.launch("select md5(i::text) from generate_series(1, 20000) i"))
    assert size("job_rows") > before


def test_a_running_job_whose_worker_died_is_not_counted_as_running(
    launcher: Session, admin: Session, gate: Gate, app: str
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    assert admin.value("select pg_terminate_backend(%s, 10000)", [job.pid])
    found = metrics(launcher)
    assert found["pg_background_running",] == 0
    assert found["pg_background_jobs", app, "error"] == 1
