"""A worker that dies: its job's fate is told at once and truly, and nobody waits in vain."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_wait import Gate, eventually
from tests.integration.session import Handle, Session


@pytest.fixture(autouse=True)
def table(launcher: Session) -> None:
    """Make the table that the jobs write to."""
    launcher.execute("create table t (n int4)")


@pytest.fixture
def kill(admin: Session) -> Callable[[int], None]:
    """Give a function that ends a backend and returns when it is gone."""

    def killed(pid: int) -> None:
        assert admin.value("select pg_terminate_backend(%s, 20000)", [pid])

    return killed


def assert_lost(session: Session, job: Handle) -> None:
    """The job ended by the death of its worker, and says so everywhere."""
    outcome = session.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("error", "57P01")
    assert (outcome.completed, outcome.has_error) == (True, True)
    assert (outcome.row_count, outcome.command_tag) == (0, "")
    assert session.error_info(job)["sqlstate"] == "57P01"
    assert session.job(job)["state"] == "error"
    assert session.call("result_info", *job)[0][:4] == (0, "", True, True)
    with pytest.raises(psycopg.errors.AdminShutdown, match="background worker: "):
        session.result(job)


def test_the_death_of_a_worker_in_the_middle_of_its_job_is_a_rollback(
    launcher: Session, observer: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    job = launcher.launch(f"insert into t values (1); {gate.sql}; insert into t values (2)")
    gate.arrived()
    kill(job.pid)
    assert launcher.wait(job)
    for session in (launcher, observer):
        assert_lost(session, job)
    assert launcher.rows("select n from t") == []
    assert launcher.rows("select state from background.pg_background_list") == [("error",)]


def test_whoever_waits_is_woken_by_the_death_of_the_worker(
    launcher: Session, observer: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    waiting = launcher.connection.pgconn
    waiting.send_query(f"select background.pg_background_wait({job.pid}, {job.cookie})".encode())
    eventually(lambda: observer.value("select pg_blocking_pids(%s)", [launcher.pid]) == [job.pid])
    kill(job.pid)
    answer = waiting.get_result()
    assert answer is not None
    assert answer.get_value(0, 0) == b"t"
    assert waiting.get_result() is None
    assert_lost(launcher, job)


def test_whoever_asks_for_the_result_is_told_of_the_death_of_the_worker(
    launcher: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    kill(job.pid)
    with pytest.raises(psycopg.errors.AdminShutdown):
        launcher.result(job)


def test_a_launcher_with_an_old_snapshot_is_told_of_the_death_of_the_worker(
    launcher: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    launcher.execute("begin isolation level repeatable read")
    launcher.rows("select n from t")
    job = launcher.launch(gate.sql)
    gate.arrived()
    kill(job.pid)
    assert launcher.finished(job).sqlstate == "57P01"
    launcher.execute("commit")


def test_the_next_launch_after_the_death_of_a_worker_takes_another_one(
    launcher: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    kill(job.pid)
    following = launcher.launch("select 1")
    assert launcher.result(following, "n int4") == [(1,)]
    assert following.pid != job.pid
    assert_lost(launcher, job)


def test_a_worker_that_dies_between_two_jobs_is_replaced_without_an_error(
    launcher: Session, observer: Session, kill: Callable[[int], None]
) -> None:
    first = launcher.launch("insert into t values (1)")
    launcher.wait(first)
    observer.until_idle(first.pid)
    kill(first.pid)
    second = launcher.launch("insert into t values (2)")
    assert launcher.finished(second).state == "stopped"
    assert second.pid != first.pid
    assert launcher.outcome(first).state == "stopped"
    assert launcher.rows("select n from t order by n") == [(1,), (2,)]


def test_all_idle_workers_of_a_session_may_die_at_once(
    launcher: Session, observer: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    jobs = [launcher.launch(gate.sql) for _ in range(5)]
    gate.arrived(5)
    gate.open()
    for job in jobs:
        launcher.wait(job)
        observer.until_idle(job.pid)
    for job in jobs:
        kill(job.pid)
    for _ in range(6):
        assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_a_worker_that_dies_while_it_registers_is_replaced(
    launcher: Session, observer: Session, admin: Session, kill: Callable[[int], None]
) -> None:
    first = launcher.launch("select 1")
    launcher.wait(first)
    observer.until_idle(first.pid)
    # A session of the owner that holds the registry back: the worker waits while it registers.
    admin.execute("begin")
    admin.execute("lock table pgbackground.job in share mode")
    launching = launcher.connection.pgconn
    launching.send_query(b"select pid, cookie from background.pg_background_launch('select 2')")
    eventually(lambda: observer.value("select pg_blocking_pids(%s)", [first.pid]) == [admin.pid])
    kill(first.pid)
    admin.execute("commit")
    answer = launching.get_result()
    assert answer is not None
    assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, answer.error_message
    pid, cookie = (int(answer.get_value(0, column) or b"0") for column in (0, 1))
    assert launching.get_result() is None
    assert pid != first.pid
    assert launcher.result(Handle(pid, cookie), "n int4") == [(2,)]


def test_a_worker_that_dies_while_it_records_takes_the_effects_with_it(
    launcher: Session, observer: Session, admin: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    job = launcher.launch(f"insert into t values (1); {gate.sql}")
    gate.arrived()
    admin.execute("begin")
    admin.execute("select from pgbackground.job where cookie = %s for update", [job.cookie])
    gate.open()
    eventually(lambda: observer.value("select pg_blocking_pids(%s)", [job.pid]) == [admin.pid])
    kill(job.pid)
    admin.execute("commit")
    assert launcher.wait(job)
    assert_lost(launcher, job)
    assert launcher.rows("select n from t") == []


def test_a_job_that_was_asked_to_stop_before_its_worker_died_is_canceled(
    launcher: Session, admin: Session, kill: Callable[[int], None]
) -> None:
    job = launcher.launch(
        "do $$ begin loop begin perform pg_sleep(1000);"
        " exception when query_canceled then raise log 'not now'; end; end loop; end $$"
    )
    eventually(lambda: (admin.backend(job.pid) or {})["wait_event"] == "PgSleep")
    launcher.cancel(job)
    kill(job.pid)
    assert launcher.wait(job)
    assert (launcher.outcome(job).state, launcher.outcome(job).sqlstate) == ("canceled", "57014")


def test_a_job_that_ends_its_own_worker_is_lost(launcher: Session) -> None:
    job = launcher.launch("insert into t values (1); select pg_terminate_backend(pg_backend_pid())")
    assert launcher.wait(job)
    assert_lost(launcher, job)
    assert launcher.rows("select n from t") == []


def test_a_dead_worker_s_place_is_free_again(
    launcher: Session, admin: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    launcher.execute("set pg_background.max_workers = 2")
    jobs = [launcher.launch(gate.sql) for _ in range(2)]
    gate.arrived(2)
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        launcher.launch("select 1")
    kill(jobs[0].pid)
    following = launcher.launch("select 1")
    assert launcher.finished(following).state == "stopped"
    assert (
        admin.value("select state from pgbackground.job where cookie = %s", [jobs[0].cookie])
        == "error"
    )


def test_a_launcher_that_is_terminated_with_jobs_under_way_leaves_them_to_end(
    launcher: Session, observer: Session, gate: Gate, kill: Callable[[int], None]
) -> None:
    jobs = [launcher.launch(f"{gate.sql}; insert into t values ({n})") for n in range(3)]
    gate.arrived(3)
    kill(launcher.pid)
    gate.open()
    assert [observer.finished(job).state for job in jobs] == ["stopped"] * 3
    assert observer.value("select count(*) from t") == 3


def finished_at(session: Session, job: Handle) -> list[object]:
    """When the job ended: what the verb says, and what the view says then."""
    return [session.call("result_info", *job)[0][5], session.job(job)["finished_at"]]


@pytest.mark.parametrize("begin", ["", "begin read only", "begin isolation level repeatable read"])
def test_the_first_who_asks_for_a_dead_job_fixes_when_it_ended(
    launcher: Session, observer: Session, gate: Gate, kill: Callable[[int], None], begin: str
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    kill(job.pid)
    observer.execute(begin)
    before = observer.value("select clock_timestamp()")
    assert observer.outcome(job).sqlstate == "57P01"
    ended = observer.call("result_info", *job)[0][5]
    assert before <= ended <= observer.value("select clock_timestamp()")
    observer.execute("rollback")
    assert finished_at(observer, job) == [ended, ended]
    assert launcher.finished(job).sqlstate == "57P01"
    assert finished_at(launcher, job) == [ended, ended]
    assert_lost(launcher, job)


def test_a_dead_job_is_told_as_one_where_nothing_can_be_written_down(
    launcher: Session, admin: Session, app: str, gate: Gate, kill: Callable[[int], None]
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    kill(job.pid)
    admin.execute(f"alter role {app} connection limit 0")
    assert_lost(launcher, job)
    assert None not in finished_at(launcher, job)
    admin.execute(f"alter role {app} connection limit -1")
    ended = finished_at(launcher, job)
    assert ended[0] is not None
    assert finished_at(launcher, job) == ended


def test_a_dead_job_whose_row_somebody_holds_is_told_without_waiting_for_him(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    job = launcher.launch(gate.sql)
    gate.arrived()
    admin.execute("begin")
    admin.execute("select from pgbackground.job where cookie = %s for update", [job.cookie])
    launcher.execute("select pg_terminate_backend(%s, 20000)", [job.pid])
    launcher.execute("set statement_timeout = '5s'")
    assert_lost(launcher, job)
    assert None not in finished_at(launcher, job)
    admin.execute("rollback")
    assert None not in finished_at(launcher, job)


def test_a_job_that_was_canceled_before_it_began_has_an_end(
    launcher: Session, observer: Session
) -> None:
    for _ in range(5):
        job = launcher.launch("select pg_sleep(60)")
        launcher.cancel(job)
        assert observer.finished(job).state == "canceled"
        assert observer.call("result_info", *job)[0][5] is not None
