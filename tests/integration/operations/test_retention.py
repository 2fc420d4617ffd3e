"""Retention: finished jobs go in small steps, with all that belongs to them, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import use_queue
from tests.integration.session import Handle, Session

# A worker looks for outlived jobs after one job in so many, chosen at random, and lets at least twice as many go.
SLACK = 200


def choose(admin: Session, name: str, value: str) -> None:
    """Be the DBA who sets a value."""
    admin.execute(
        "insert into background.pg_background_config values (%s, %s)"
        " on conflict (name) do update set value = excluded.value",
        (name, value),
    )


def run_many(session: Session, count: int, statement: str = "select 1") -> None:
    """Run jobs one after the other."""
    session.execute(
        "do $do$ declare h background.pg_background_handle; begin"
        f" for i in 1 .. {count} loop"
        f"  h := background.pg_background_launch($job${statement}$job$);"
        "  perform background.pg_background_wait(h.pid, h.cookie);"
        " end loop; end $do$"
    )


def age(admin: Session, job: Handle, by: str) -> None:
    """Let time pass for one job."""
    admin.execute(
        "update pgbackground.job set launched_at = launched_at - %s::interval,"
        " finished_at = finished_at - %s::interval where cookie = %s",
        (by, by, job.cookie),
    )
    # Workers look once a minute: it is over, too.
    admin.execute("update pgbackground.retirement set none_at = null")


def until_forgotten(session: Session, job: Handle) -> None:
    """Launch jobs until one's worker has let the old one go."""

    def gone() -> bool:
        session.wait(session.launch("select 1"))
        return session.outcome(job).state is None

    eventually(gone)


def count(admin: Session, table: str) -> int:
    """Count the rows of one of the product's tables."""
    number: int = admin.value(f"select count(*) from pgbackground.{table}")
    return number


def test_the_registry_stays_at_max_history_over_thousands_of_jobs(
    launcher: Session, admin: Session
) -> None:
    choose(admin, "max_history", "100")
    sizes = []
    for _ in range(6):
        run_many(launcher, 500)
        admin.execute("vacuum pgbackground.job, pgbackground.job_rows")
        sizes.append(admin.value("select pg_relation_size('pgbackground.job')"))
        assert count(admin, "job") <= 100 + SLACK
        assert count(admin, "job_rows") <= 100 + SLACK
    assert sizes[-1] <= 2 * sizes[0]


def test_a_job_older_than_retention_is_forgotten_with_its_rows(
    launcher: Session, admin: Session
) -> None:
    choose(admin, "retention", "1 day")
    old = launcher.launch("select 1")
    launcher.wait(old)
    launcher.until_idle(old.pid)
    young = launcher.launch("select 2")
    launcher.wait(young)
    assert young.pid == old.pid, "what is forgotten is not taken for another job of its worker"
    age(admin, old, "25 hours")
    age(admin, young, "23 hours")
    until_forgotten(launcher, old)
    assert launcher.result(young) == [("2",)]
    with pytest.raises(psycopg.errors.UndefinedObject):
        launcher.result(old)
    assert not admin.rows("select from pgbackground.job_rows where cookie = %s", [old.cookie])


def test_a_detached_success_of_submit_is_kept_for_an_hour(
    launcher: Session, admin: Session
) -> None:
    old, young, failed, tracked = (
        launcher.submit("select 1"),
        launcher.submit("select 2"),
        launcher.submit("select 1/0"),
        launcher.submit("select 3"),
    )
    for job in (old, young, failed, tracked):
        launcher.wait(job)
    for job in (old, young, failed):
        launcher.detach(job)
    for job, by in (
        (old, "61 minutes"),
        (young, "50 minutes"),
        (failed, "1 day"),
        (tracked, "1 day"),
    ):
        age(admin, job, by)
    until_forgotten(launcher, old)
    states = [launcher.outcome(job).state for job in (young, failed, tracked)]
    assert states == ["stopped", "error", "stopped"]


def test_messages_go_with_their_job(launcher: Session, admin: Session) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch("vacuum (verbose) t")
    launcher.wait(job)
    assert count(admin, "job_message") > 0
    age(admin, job, "8 days")
    until_forgotten(launcher, job)
    assert count(admin, "job_message") == 0


def test_a_large_result_goes_piece_by_piece(launcher: Session, admin: Session) -> None:
    job = launcher.launch("select repeat('x', 90000) from generate_series(1, 600)")
    launcher.wait(job)
    assert count(admin, "job_rows") >= 300
    age(admin, job, "8 days")
    until_forgotten(launcher, job)
    assert not admin.rows("select from pgbackground.job_rows where cookie = %s", [job.cookie])


def test_running_and_queued_jobs_stay_however_old_they_are(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    choose(admin, "max_history", "0")
    choose(admin, "retention", "0")
    running = launcher.launch(f"{gate.sql}; select 7")
    gate.arrived()
    run_many(observer, 300)
    assert launcher.outcome(running).state == "running"
    assert count(admin, "job") <= 1 + SLACK
    choose(admin, "max_history", "1000")
    choose(admin, "retention", "1 day")
    gate.open()
    assert launcher.result(running) == [("7",)]


def test_a_job_whose_worker_died_unseen_is_forgotten_in_the_end(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    choose(admin, "retention", "0")
    job = launcher.launch(gate.sql)
    gate.arrived()
    admin.execute("select pg_terminate_backend(%s, 10000)", [job.pid])
    admin.execute(
        "update pgbackground.job set launched_at = launched_at - interval '2 hours' where cookie = %s",
        [job.cookie],
    )

    def gone() -> bool:
        observer.wait(observer.launch("select 1"))
        return not admin.rows("select from pgbackground.job where cookie = %s", [job.cookie])

    eventually(gone)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention", "rubbish"),
        ("retention", "-1 day"),
        ("retention", ""),
        ("max_history", "many"),
        ("max_history", "-1"),
        ("max_history", "99999999999999999999"),
        ("max_history", "1e3"),
    ],
)
def test_a_bad_value_breaks_no_job_and_means_the_default(
    launcher: Session, admin: Session, name: str, value: str
) -> None:
    choose(admin, name, value)
    run_many(launcher, 60)
    assert count(admin, "job") == 60
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_a_job_that_somebody_works_with_is_passed_over(launcher: Session, admin: Session) -> None:
    first, second = launcher.launch("select 1"), launcher.launch("select 2")
    for job in (first, second):
        launcher.wait(job)
        age(admin, job, "8 days")
    admin.execute("begin")
    admin.execute("select from pgbackground.job where cookie = %s for update", [first.cookie])
    until_forgotten(launcher, second)
    admin.execute("commit")
    # A worker may have looked once more, found nothing else, and told the others for a minute.
    admin.execute("update pgbackground.retirement set none_at = null")
    until_forgotten(launcher, first)


def test_the_workers_of_a_busy_server_retire_side_by_side(
    launcher: Session, observer: Session, admin: Session
) -> None:
    choose(admin, "max_history", "50")
    for _ in range(20):
        jobs = [session.launch("select 1") for session in (launcher, observer) for _ in range(8)]
        for job in jobs:
            observer.wait(job)
    assert count(admin, "job") <= 50 + SLACK
    assert not admin.rows(
        "select from pgbackground.job_rows r"
        " where not exists (select from pgbackground.job j where j.cookie = r.cookie)"
    )


def test_the_jobs_of_one_role_never_push_out_those_of_another(
    launcher: Session, admin: Session, connect: Callable[..., Session], roles: Roles
) -> None:
    choose(admin, "max_history", "50")
    other = connect(roles.create("other"))
    unread = other.launch("select 'unread'")
    other.wait(unread)
    run_many(launcher, 500)
    assert other.result(unread) == [("unread",)]
    assert count(admin, "job") <= 1 + 50 + SLACK


def test_a_role_that_rests_has_no_longer_history_than_others(
    launcher: Session, admin: Session, connect: Callable[..., Session], roles: Roles
) -> None:
    other = connect(roles.create("other"))
    run_many(other, 300)
    choose(admin, "max_history", "10")

    def few() -> bool:
        launcher.wait(launcher.launch("select pg_sleep(0.06)"))
        return count(admin, "job") <= 2 * 10 + SLACK

    eventually(few)


def test_a_role_whose_jobs_are_all_gone_begins_a_history_of_the_same_length(
    launcher: Session, admin: Session
) -> None:
    choose(admin, "max_history", "0")
    run_many(launcher, 1500)
    admin.execute("select pgbackground.retire(10000)")
    assert count(admin, "job") <= SLACK
    choose(admin, "max_history", "100")
    run_many(launcher, 50)
    kept = [launcher.launch(f"select {n}") for n in range(50)]
    assert [launcher.result(job) for job in kept] == [[(str(n),)] for n in range(50)]
    run_many(launcher, 500)
    assert count(admin, "job") <= 100 + SLACK


def test_a_long_history_costs_the_queue_and_the_doctor_nothing(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.wait(launcher.launch("select 1"))
    choose(admin, "max_history", "1000000")
    columns = admin.value(
        "select string_agg(attname, ', ') from pg_attribute where attrelid = 'pgbackground.job'::regclass"
        " and attgenerated = ''"
        " and attnum > 0 and not attisdropped and attname not in ('cookie', 'number')"
    )
    admin.execute(
        f"insert into pgbackground.job (cookie, number, {columns})"
        f" select i, i, {columns} from pgbackground.job, generate_series(1, 100000) i"
    )
    admin.execute("analyze pgbackground.job")
    use_queue(launcher, 1)
    jobs = [launcher.launch(statement) for statement in (gate.sql, "select 1")]
    assert jobs[1].pid == 0
    for session in (admin, launcher):
        session.execute("set statement_timeout = '2s'")
    admin.rows("select from background.pg_background_check()")
    assert not launcher.wait(jobs[1], 300)
    gate.open()
    assert launcher.finished(jobs[1]).state == "stopped"
