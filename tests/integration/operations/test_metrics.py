"""Metrics: what a monitor reads, true to the jobs there are, and no more than the reader may know."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import ended, enqueue, limit
from tests.integration.schedule.schedules import clock_pid, run_now, schedule
from tests.integration.session import Session
from tools.servers import Server


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


def test_the_queue_is_told_by_role_and_by_what_each_job_waits_for(
    launcher: Session, observer: Session, admin: Session, gate: Gate, app: str
) -> None:
    limit(admin, "role", 1, app)
    launcher.launch(gate.sql)
    gate.arrived()
    parent = enqueue(launcher, "select 1")
    enqueue(launcher, "select 1", after=[parent.cookie])
    enqueue(launcher, "select 1", run_at="2999-01-01")
    found = metrics(observer)
    length = {
        key[2]: value for key, value in found.items() if key[0] == "pg_background_queue_length"
    }
    assert length == {"place": 1, "job": 1, "time": 1}
    assert found["pg_background_queued",] == 3
    # The age is that of the job that could start, not of those that have to wait.
    age = found["pg_background_queue_oldest_seconds", app]
    assert age > 0
    assert found["pg_background_oldest_queued_seconds",] == pytest.approx(age, abs=0.5)
    gate.open()
    launcher.cancel(parent)


def test_retries_are_counted_and_stay_counted(
    launcher: Session, observer: Session, admin: Session, app: str
) -> None:
    tried = enqueue(launcher, "select 1 / 0", attempts=3, retry_on="any", backoff="0 s")
    assert ended(observer, tried) == ("error", "22012")
    again = enqueue(launcher, "select 1 / 0", attempts=2, retry_on="any", backoff="1 day")
    eventually(lambda: observer.job(again)["attempt"] == 2)
    found = metrics(observer)
    assert found["pg_background_retries_total", app] == 3
    assert found["pg_background_jobs_failed", "22", app] == 1
    assert found["pg_background_queue_length", app, "retry"] == 1
    admin.execute("insert into background.pg_background_config values ('max_history', '0')")
    admin.value("select pgbackground.retire(2000)")
    found = metrics(observer)
    assert ("pg_background_jobs", app, "error") not in found
    assert found["pg_background_retries_total", app] == 3


def test_a_scrape_says_whether_the_clock_is_kept_and_starts_it(
    launcher: Session,
    admin: Session,
    roles: Roles,
    connect: Callable[..., Session],
) -> None:
    name = roles.create("monitor", member=False)
    roles.grant("pg_monitor", name)
    monitor = connect(name)
    kept, needed = ("pg_background_clock_kept",), ("pg_background_clock_needed",)
    found = metrics(monitor)
    assert (found[kept], found[needed]) == (0, 0)
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    # Not by scraping, which would start others.
    pid = eventually(lambda: admin.value("select pid from pgbackground.clock"))
    assert metrics(monitor)[kept] == 1
    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    assert clock_pid(admin) is None
    found = metrics(monitor)
    assert (found[kept], found[needed]) == (0, 1)
    assert eventually(lambda: clock_pid(admin)) != pid
    eventually(lambda: metrics(monitor)[kept] == 1)


def test_schedules_are_told_with_their_lateness_and_their_failures(
    launcher: Session, observer: Session, admin: Session, app: str
) -> None:
    odd = 'nightly "report"\\\n'
    schedule(launcher, odd, "0 0 29 2 *", "select 1 / 0")
    schedule(launcher, "asleep", "0 0 29 2 *", "select 1", active=False)
    for _ in range(2):
        launcher.finished(run_now(launcher, odd))
    found = metrics(observer)
    assert found["pg_background_schedules", app] == 1
    assert found["pg_background_schedule_late_seconds", app] == 0
    assert found["pg_background_schedule_failures_in_a_row", app, odd] == 2
    assert ("pg_background_schedule_failures_in_a_row", app, "asleep") not in found
    with admin.connection.transaction():
        # Nobody can see to it while it is held.
        admin.execute("select from pgbackground.schedule where name = %s for update", [odd])
        admin.execute(
            "update pgbackground.schedule set next_run = now() - interval '1 min' where name = %s",
            [odd],
        )
        assert metrics(admin)["pg_background_schedule_late_seconds", app] >= 60
        raise psycopg.Rollback


def test_in_a_copy_numbers_belong_to_whoever_has_the_owners_name(
    server: Server, db: Database, launcher: Session, admin: Session, roles: Roles, app: str
) -> None:
    launcher.wait(launcher.launch("select 1"))
    launcher.wait(launcher.launch("select 1 / 0"))
    admin.execute("insert into background.pg_background_config values ('max_history', '1')")
    admin.value("select pgbackground.retire(2000)")
    schedule(launcher, "job", "0 0 29 2 *", "select 1")
    # In the copy the registry's oid means another role, and another oid has the owner's name.
    stranger, gone = roles.create("stranger"), roles.create("gone", member=False)
    admin.execute(
        "update pgbackground.job set role = %s::regrole, login = %s::regrole, home = '1/1'",
        [stranger, stranger],
    )
    admin.execute("update pgbackground.retired set role = %s::regrole, home = '1/1'", [stranger])
    admin.execute("update pgbackground.schedule set role = %s::regrole, home = '1/1'", [stranger])
    finished = "pg_background_jobs_finished_total"
    for user in (app, stranger):
        with psycopg.connect(server.dsn(db.name, user, user), autocommit=True) as connection:
            found = metrics(Session(connection))
        mine = {key: value for key, value in found.items() if key[0] == finished}
        assert mine == (
            {(finished, app, "stopped"): 1, (finished, app, "error"): 1} if user == app else {}
        )
        assert not [key for key in found if stranger in key or key[0] == "pg_background_schedules"]
    # Nobody has the name: superusers are told it.
    admin.execute("update pgbackground.job set role_name = %s", [gone])
    admin.execute("update pgbackground.retired set role_name = %s", [gone])
    roles.created.remove(gone)
    admin.execute(f"drop role {gone}")
    found = metrics(admin)
    assert found[finished, gone, "error"] == 1
    assert found["pg_background_job_duration_seconds_count", gone] == 2
    assert found["pg_background_job_duration_seconds", "0.5", gone] > 0


LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"')


def unescaped(text: str) -> str:
    return re.sub(r'\\(["\\n])', lambda found: "\n" if found[1] == "n" else found[1], text)


def test_the_text_is_what_prometheus_reads(launcher: Session, observer: Session) -> None:
    odd = 'a "b" \\n c\\\n{d="e",}'
    schedule(launcher, odd, "0 0 29 2 *", "select 1")
    launcher.wait(launcher.launch("select 1 / 0"))
    eventually(lambda: metrics(observer)["pg_background_clock_kept",] == 1)
    observer.execute("set extra_float_digits = 0")
    text = observer.value("select background.pg_background_metrics_text()")
    assert text.endswith("\n")
    series: dict[tuple[str, ...], float] = {}
    families: dict[str, str] = {}
    current = ""
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in families, "each family stands in one piece"
            assert len(line.split()) > 3
        elif line.startswith("# TYPE "):
            assert line.split()[2] == current
            families[current] = line.split()[3]
        else:
            match = LINE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            ends = ("", "_sum", "_count") if families[current] == "summary" else ("",)
            assert name in {current + end for end in ends}
            assert name.endswith("_total") == (families[current] == "counter")
            shown = {key: unescaped(said) for key, said in LABEL.findall(labels or "")}
            series[(name, *(shown[key] for key in sorted(shown)))] = float(value)
    there = metrics(observer)
    assert series.keys() == there.keys()
    assert any(odd in key for key in series)
    moving = ("_seconds", "_bytes", "_connections")
    steady = [key for key in there if not any(word in key[0] for word in moving)]
    assert {key: series[key] for key in steady} == {key: there[key] for key in steady}


def test_a_monitor_reads_the_text_as_well(
    launcher: Session, roles: Roles, connect: Callable[..., Session], app: str
) -> None:
    launcher.wait(launcher.launch("select 1"))
    name = roles.create("monitor", member=False)
    roles.grant("pg_monitor", name)
    text = connect(name).value("select background.pg_background_metrics_text()")
    assert f'pg_background_jobs{{role="{app}",state="stopped"}} 1\n' in text
