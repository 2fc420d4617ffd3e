"""Workers are used again, and a job finds nothing of the one before."""

from __future__ import annotations

from collections.abc import Callable

from tests.fix_wait import Gate
from tests.integration.session import Session


def again(launcher: Session, observer: Session, texts: list[str]) -> list[tuple[str, str | None]]:
    """Run jobs one after the other on one worker; return states and messages."""
    fates = []
    pids = set()
    for text in texts:
        job = launcher.launch(text)
        outcome = launcher.finished(job)
        fates.append((outcome.state or "", outcome.error_message))
        pids.add(job.pid)
        observer.until_idle(job.pid)
    assert len(pids) == 1, "the test is about one worker"
    return fates


def test_five_hundred_jobs_in_a_row_run_on_one_worker(
    launcher: Session, observer: Session, app: str
) -> None:
    launcher.execute("create table t (n int4)")
    pids = set()
    for n in range(500):
        job = launcher.launch(f"insert into t values ({n}) returning n")
        assert launcher.wait(job)
        pids.add(job.pid)
        if n % 2:
            launcher.detach(job)
    assert len(pids) == 1
    assert launcher.value("select count(distinct n) from t") == 500
    observer.until_idle(pids.pop())
    assert (
        observer.value(
            "select count(*) from pg_stat_activity where usename = %s and pid not in (%s, %s)",
            (app, launcher.pid, observer.pid),
        )
        == 1
    )
    assert observer.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    assert (
        observer.value("select count(*) from background.pg_background_jobs where state = 'stopped'")
        == 500
    )


def test_failed_jobs_leave_the_worker_as_good_as_new(launcher: Session, observer: Session) -> None:
    texts = ["select 1 / 0", "selct", "select 1", "do $$ begin raise exception 'x'; end $$"] * 5
    states = [state for state, _ in again(launcher, observer, [*texts, "select 1"])]
    assert states == ["error", "error", "stopped", "error"] * 5 + ["stopped"]


LEFTOVERS = {
    "a temporary table": (
        "create temp table left_over (n int4) on commit preserve rows",
        "select 1 / (to_regclass('pg_temp.left_over') is null)::int4",
    ),
    "a prepared statement": (
        "prepare left_over as select 1",
        "select 1 / (count(*) = 0)::int4 from pg_prepared_statements where name = 'left_over'",
    ),
    "a setting": (
        "set work_mem = '123MB'",
        "select 1 / (current_setting('work_mem') <> '123MB')::int4",
    ),
    "a custom setting": (
        "set app.left_over = 'x'",
        "select 1 / (coalesce(current_setting('app.left_over', true), '') = '')::int4",
    ),
    "a search path": (
        "set search_path = nowhere",
        "select 1 / (current_setting('search_path') <> 'nowhere')::int4",
    ),
    "a LISTEN": (
        "do $$ begin execute 'listen left_over'; end $$",
        "select 1 / (count(*) = 0)::int4 from pg_listening_channels()",
    ),
    "a cursor": (
        "declare left_over cursor with hold for select 1",
        "select 1 / (count(*) = 0)::int4 from pg_cursors where name = 'left_over'",
    ),
    "an advisory lock": (
        "select pg_advisory_lock(4711)",
        "select 1 / (count(*) = 0)::int4 from pg_locks where objid = 4711",
    ),
    "a sequence's current value": (
        "create sequence if not exists public.s; select nextval('public.s')",
        """do $$ begin perform currval('public.s'); assert false;
        exception when object_not_in_prerequisite_state or undefined_table then null; end $$""",
    ),
    "a session authorization": (
        "set session authorization default; set role none",
        "select 1 / (current_user = session_user)::int4",
    ),
    "a progress report": (
        "select background.pg_background_report_progress(50, 'left over')",
        "select 1 / (current_setting('application_name') = 'pg_background')::int4",
    ),
    "a random seed": (
        "select setseed(0.5)",
        "select 1",
    ),
    "a client encoding": (
        "set client_encoding = 'LATIN1'",
        "select 1 / (current_setting('client_encoding') = 'UTF8')::int4",
    ),
}


def test_nothing_leaks_to_the_next_job(launcher: Session, observer: Session) -> None:
    leaking = {
        name: fates
        for name, (leave, look) in LEFTOVERS.items()
        if (fates := again(launcher, observer, [leave, look, look])) != [("stopped", None)] * 3
    }
    assert leaking == {}


def test_nothing_leaks_from_a_job_that_failed(launcher: Session, observer: Session) -> None:
    leaking = {}
    for name, (leave, look) in LEFTOVERS.items():
        fates = again(launcher, observer, [f"{leave}; select 1 / 0", look])
        if [state for state, _ in fates] != ["error", "stopped"]:
            leaking[name] = fates
    assert leaking == {}


def test_many_jobs_of_one_session_run_side_by_side(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    jobs = [launcher.launch(f"{gate.sql}; insert into t values ({n})") for n in range(12)]
    assert gate.arrived(12) == sorted(job.pid for job in jobs)
    assert len({job.pid for job in jobs}) == 12
    assert [observer.outcome(job).state for job in jobs] == ["running"] * 12
    gate.open()
    for job in reversed(jobs):
        assert launcher.finished(job).state == "stopped"
    assert launcher.value("select count(distinct n) from t") == 12


def test_links_of_ended_jobs_are_taken_before_new_ones_are_opened(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    first = [launcher.launch(gate.sql) for _ in range(4)]
    gate.arrived(4)
    gate.open()
    for job in first:
        launcher.wait(job)
        observer.until_idle(job.pid)
    gate.close()
    second = [launcher.launch(gate.sql) for _ in range(4)]
    gate.arrived(4)
    assert {job.pid for job in second} == {job.pid for job in first}
    gate.open()


def test_a_job_launches_jobs_of_its_own(launcher: Session) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch("""
        do $$
        declare h background.pg_background_handle;
        begin
            h := background.pg_background_launch('insert into t values (2)');
            perform background.pg_background_wait(h.pid, h.cookie);
            insert into t values (1);
        end $$""")
    assert launcher.finished(job).state == "stopped"
    assert launcher.rows("select n from t order by n") == [(1,), (2,)]


def test_the_workers_of_two_sessions_are_their_own(
    connect: Callable[..., Session], observer: Session
) -> None:
    one, two = connect(), connect()
    seen: list[set[int]] = [set(), set()]
    for _ in range(5):
        for number, session in enumerate((one, two)):
            job = session.launch("select 1")
            session.wait(job)
            observer.until_idle(job.pid)
            seen[number].add(job.pid)
    assert not seen[0] & seen[1]


def test_discard_all_in_the_launcher_leaves_its_jobs_and_links_usable(launcher: Session) -> None:
    first = launcher.launch("select 1")
    launcher.wait(first)
    launcher.execute("discard all")
    assert launcher.outcome(first).state == "stopped"
    second = launcher.launch("select 2")
    assert launcher.result(second, "n int4") == [(2,)]
