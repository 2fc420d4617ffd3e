"""Time-outs: they bound the whole job, whatever it does to get away, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import WAITS, limit
from tests.integration.session import Handle, Outcome, Session

CAUGHT_ONCE = (
    "do $$ begin perform pg_sleep(600); exception when query_canceled then"
    " insert into t values (2); perform pg_sleep(600); end $$"
)
CAUGHT_FOR_EVER = (
    "do $$ begin loop begin perform pg_sleep(600);"
    " exception when query_canceled then null; end; end loop; end $$"
)
# The job goes on after the cancel, and is done with everything before its worker would be ended.
CAUGHT_AND_DONE = (
    "do $$ begin perform pg_sleep(600); exception when query_canceled then"
    " insert into t values (2); end $$"
)
ESCAPES = {
    "sleep": "insert into t values (1); select pg_sleep(600)",
    "set statement_timeout": "insert into t values (1); set statement_timeout = 0; select pg_sleep(600)",
    "reset all": "insert into t values (1); reset all; set lock_timeout = 0; select pg_sleep(600)",
    "caught once": CAUGHT_ONCE,
    "caught for ever": CAUGHT_FOR_EVER,
    "caught and done": CAUGHT_AND_DONE,
    "loop in SQL": "insert into t values (1); do $$ begin loop perform 1; end loop; end $$",
    "many statements": "insert into t values (1); " + "select pg_sleep(0.02); " * 500 + "select 1",
    "many rows": "select g, md5(g::text) from generate_series(1, 1000000000) g",
    "a set role": "insert into t values (1); set role none; select pg_sleep(600)",
    "freed locks": "insert into t values (1); select pg_advisory_unlock_all(); select pg_sleep(600)",
    "held cursor": "insert into t values (1); declare c cursor with hold for select pg_sleep(600)",
    "deferred": "insert into t values (1); create temp table s (n int4);"
    " create function pg_temp.slow() returns trigger language plpgsql as"
    " $$ begin perform pg_sleep(600); return null; end $$;"
    " create constraint trigger slow after insert on s initially deferred"
    " for each row execute function pg_temp.slow(); insert into s values (1)",
}


@pytest.fixture(autouse=True)
def table(launcher: Session) -> None:
    """Make the table that jobs write to, and bound them."""
    launcher.execute("create table t (n int4)")
    launcher.execute("set pg_background.worker_timeout = '200ms'")


def assert_timed_out(session: Session, job: Handle) -> Outcome:
    """The job ended by its time-out, and says so everywhere."""
    outcome = session.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("error", "57014")
    assert outcome.error_message == "canceling statement due to worker timeout"
    assert (outcome.completed, outcome.has_error) == (True, True)
    assert (outcome.row_count, outcome.command_tag) == (0, "")
    row = session.job(job)
    assert (row["state"], row["timed_out"], row["sqlstate"]) == ("error", True, "57014")
    eventually(lambda: session.job(job)["finished_at"])
    with pytest.raises(psycopg.errors.QueryCanceled, match="due to worker timeout"):
        session.result(job)
    return outcome


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_job_escapes_its_time_out_and_its_effects_are_rolled_back(
    launcher: Session, observer: Session, escape: str
) -> None:
    job = launcher.launch(ESCAPES[escape])
    assert launcher.wait(job, 20000)
    assert_timed_out(launcher, job)
    assert_timed_out(observer, job)
    assert launcher.rows("select n from t") == []


def test_a_job_that_ends_in_time_knows_nothing_of_its_time_out(launcher: Session) -> None:
    launcher.execute("set pg_background.worker_timeout = '30s'")
    job = launcher.launch("insert into t values (1); select current_setting('statement_timeout')")
    assert launcher.result(job) == [("0",)]
    row = launcher.job(job)
    assert (row["timed_out"], row["cancel_requested"], row["sqlstate"]) == (False, False, None)
    assert launcher.rows("select n from t") == [(1,)]


def test_the_launchers_own_statement_timeout_bounds_no_job_by_itself_but_travels(
    launcher: Session,
) -> None:
    launcher.execute("set pg_background.worker_timeout = 0; set statement_timeout = '30s'")
    job = launcher.launch("select current_setting('statement_timeout')")
    assert launcher.result(job) == [("30s",)]
    assert launcher.job(job)["timed_out"] is False


@pytest.mark.parametrize(
    "body",
    [
        "for i in 1 .. 10000 loop insert into t values (i); commit; perform pg_sleep(0.01); end loop",
        "set statement_timeout = 0; insert into t values (1); commit; perform pg_sleep(600)",
    ],
    ids=["many transactions", "one that sleeps"],
)
def test_a_procedure_that_commits_again_and_again_is_stopped_and_keeps_what_it_committed(
    launcher: Session, body: str
) -> None:
    launcher.execute(f"create procedure p() language plpgsql as $$ begin {body}; end $$")
    job = launcher.launch("call p()")
    assert launcher.wait(job, 20000)
    assert_timed_out(launcher, job)
    assert launcher.job(job)["mode"] == "top-level"
    assert launcher.value("select count(*) from t") in range(1, 10000)


@pytest.mark.parametrize(
    "body",
    [
        "loop begin perform pg_sleep(600); exception when query_canceled then null; end; end loop",
        "loop begin perform pg_sleep(600); exception when query_canceled then end; commit; end loop",
    ],
    ids=["in one transaction", "with commits"],
)
def test_a_procedure_that_catches_every_cancel_is_stopped(
    launcher: Session, admin: Session, body: str
) -> None:
    launcher.execute(f"create procedure p() language plpgsql as $$ begin {body}; end $$")
    launcher.execute("set pg_background.worker_timeout = '2s'")
    job = launcher.launch("call p()")
    eventually(lambda: launcher.job(job)["executor_pid"] is not None)
    executor = launcher.job(job)["executor_pid"]
    assert launcher.wait(job, 20000)
    assert_timed_out(launcher, job)
    admin.until_gone(executor)


def test_a_top_level_statement_that_waits_for_a_lock_is_stopped(
    launcher: Session, gate: Gate
) -> None:
    gate.lock_table("t")
    job = launcher.launch("vacuum t")
    assert launcher.wait(job, 20000)
    assert_timed_out(launcher, job)
    gate.open()
    launcher.execute("reset pg_background.worker_timeout")
    assert launcher.finished(launcher.launch("vacuum t")).state == "stopped"


@pytest.mark.parametrize("value", ["150", "150ms", "0.15s", "0.0025min", "150000us", " 150 ms "])
def test_a_time_out_may_have_a_unit(launcher: Session, admin: Session, value: str) -> None:
    launcher.execute(f"set pg_background.worker_timeout = '{value}'")
    job = launcher.launch("select pg_sleep(600)")
    assert launcher.wait(job, 20000)
    assert (
        admin.value("select timeout_ms from pgbackground.job where cookie = %s", [job.cookie])
        == 150
    )
    assert_timed_out(launcher, job)


@pytest.mark.parametrize(
    ("value", "milliseconds"), [("2s", 2000), ("3min", 180000), ("1h", 3600000), ("1d", 86400000)]
)
def test_long_time_outs_are_read_as_postgresql_reads_them(
    launcher: Session, admin: Session, value: str, milliseconds: int
) -> None:
    launcher.execute(f"set pg_background.worker_timeout = '{value}'")
    job = launcher.launch("select 1")
    launcher.wait(job)
    found = admin.value("select timeout_ms from pgbackground.job where cookie = %s", [job.cookie])
    assert found == milliseconds


@pytest.mark.parametrize(
    "value", ["-1", "soon", "5 parsecs", "1e", "2147483648", "30d", "nan s", "ms", "1 s s", "inf"]
)
def test_a_bad_time_out_is_refused_by_name_and_starts_nothing(
    launcher: Session, admin: Session, value: str
) -> None:
    launcher.execute(f"set pg_background.worker_timeout = '{value}'")
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refusal:
        launcher.launch("select 1")
    assert '"pg_background.worker_timeout"' in (refusal.value.diag.message_primary or "")
    assert value in (refusal.value.diag.message_primary or "")
    assert '"ms"' in (refusal.value.diag.message_hint or "")
    assert admin.value("select count(*) from pgbackground.job") == 0


def test_other_jobs_and_the_session_are_unharmed(launcher: Session, gate: Gate) -> None:
    launcher.execute("set pg_background.worker_timeout = 0")
    steady = launcher.launch(gate.sql)
    gate.arrived()
    launcher.execute("set pg_background.worker_timeout = '150ms'")
    bounded = [launcher.launch("select pg_sleep(600)") for _ in range(3)]
    launcher.execute("reset pg_background.worker_timeout")
    for job in bounded:
        assert launcher.wait(job, 20000)
        assert_timed_out(launcher, job)
    assert launcher.outcome(steady).state == "running"
    following = [launcher.launch(f"select {n}") for n in range(6)]
    assert [launcher.result(job, "n int4") for job in following] == [[(n,)] for n in range(6)]
    gate.open()
    assert launcher.finished(steady).state == "stopped"


def test_a_time_out_takes_no_connection_of_its_own_and_touches_no_later_job(
    launcher: Session, admin: Session, db: Database
) -> None:
    launcher.execute("set pg_background.worker_timeout = '30s'")
    for n in range(5):
        assert launcher.result(launcher.launch(f"select {n}"), "n int4") == [(n,)]
    count = "select count(*) from pg_stat_activity where datname = %s and application_name = %s"
    assert admin.value(count, [db.name, "pg_background"]) <= 2
    launcher.execute("set pg_background.worker_timeout = '300ms'")
    launcher.wait(launcher.launch("select 1"))
    launcher.execute("set pg_background.worker_timeout = 0")
    later = launcher.launch("select pg_sleep(0.6)")
    assert launcher.finished(later).state == "stopped"


def test_the_time_out_holds_when_the_launcher_has_left(
    connect: Callable[..., Session], admin: Session, db: Database, app: str
) -> None:
    leaver = connect()
    leaver.execute("set pg_background.worker_timeout = '400ms'")
    job = leaver.launch("insert into t values (1); select pg_sleep(600)")
    leaver.close()
    admin.until_ended(job)
    assert_timed_out(admin, job)
    assert admin.rows("select n from t") == []
    workers = (
        "select count(*) from pg_stat_activity"
        " where datname = %s and usename = %s and application_name = 'pg_background'"
    )
    eventually(lambda: admin.value(workers, [db.name, app]) == 0)


def test_the_time_out_holds_for_jobs_of_a_security_definer_function(
    launcher: Session, admin: Session, roles: Roles, db: Database
) -> None:
    owner = roles.create("owner")
    admin.execute(
        "create function public.as_owner(text) returns background.pg_background_handle"
        " language sql security definer as 'select background.pg_background_launch($1)';"
        f" alter function public.as_owner owner to {owner}"
    )
    call = "select (h).pid, (h).cookie from public.as_owner(%s) h"
    slow = Handle(*launcher.rows(call, ["select pg_sleep(600)"])[0])
    launcher.execute("set pg_background.worker_timeout = '30s'")
    quick = Handle(*launcher.rows(call, ["select 1"])[0])
    admin.until_ended(slow)
    admin.until_ended(quick)
    assert_timed_out(admin, slow)
    assert admin.job(slow)["role"] == owner
    assert admin.outcome(quick).state == "stopped"
    left = "select count(*) from pg_stat_activity where datname = %s and usename = %s"
    eventually(lambda: admin.value(left, [db.name, owner]) == 0)


def test_a_cancel_that_came_first_is_told_as_a_cancel(launcher: Session) -> None:
    launcher.execute("set pg_background.worker_timeout = '2s'")
    job = launcher.launch(CAUGHT_FOR_EVER)
    launcher.cancel(job)
    assert launcher.wait(job, 20000)
    outcome = launcher.outcome(job)
    assert (outcome.state, outcome.sqlstate) == ("canceled", "57014")
    assert outcome.error_message == "canceling statement due to user request"
    assert launcher.job(job)["timed_out"] is False


def test_a_cancel_after_the_time_out_does_not_hide_it(launcher: Session) -> None:
    job = launcher.launch(CAUGHT_FOR_EVER)

    def told() -> bool:
        launcher.wait(job, 10)
        return bool(launcher.job(job)["timed_out"])

    eventually(told)
    launcher.cancel(job)
    assert launcher.wait(job, 20000)
    assert_timed_out(launcher, job)


def test_a_job_whose_process_is_ended_by_its_time_out_says_so_before_anybody_has_written_it_down(
    launcher: Session, admin: Session
) -> None:
    job = overdue(launcher)
    # Whoever waits in vain asks for the job's end.
    eventually(lambda: launcher.wait(job, 10) or launcher.job(job)["timed_out"])
    admin.execute("select pg_terminate_backend(%s)", [job.pid])
    alive = "select from pg_stat_activity where pid = %s"
    eventually(lambda: not admin.rows(alive, [job.pid]))
    row = admin.job(job)
    assert (row["state"], row["timed_out"], row["sqlstate"]) == ("error", True, "57014")
    assert row["message"] == "canceling statement due to worker timeout"


def test_run_tells_a_worker_timeout_from_its_own(launcher: Session) -> None:
    columns = "state, sqlstate, timed_out"
    run = f"select {columns} from background.pg_background_run('select pg_sleep(600)', 0, %s)"
    assert launcher.rows(run, [0]) == [("error", "57014", False)]
    launcher.execute("set pg_background.worker_timeout = '60s'")
    assert launcher.rows(run, [150]) == [("canceled", "57014", True)]


def test_stats_count_the_jobs_that_timed_out(launcher: Session) -> None:
    launcher.wait(launcher.launch("select pg_sleep(600)"), 20000)
    launcher.execute("set pg_background.worker_timeout = '30s'")
    launcher.wait(launcher.launch("select 1"))
    stats = "select workers_launched, workers_timed_out from background.pg_background_stats()"
    assert launcher.rows(stats) == [(2, 1)]


def test_a_time_out_does_not_hold_back_what_waits_for_all_snapshots(launcher: Session) -> None:
    launcher.execute("set pg_background.worker_timeout = '60s'")
    for text in ("create index concurrently i on t (n)", "reindex index concurrently i"):
        job = launcher.launch(text)
        launcher.await_(job, 30000)
        assert launcher.outcome(job).state == "stopped"


def overdue(session: Session) -> Handle:
    """Launch a job that catches what the server does about its time-out, and return when it has begun."""
    session.execute("set pg_background.worker_timeout = '500ms'")
    job = session.launch(f"insert into t values (1); {CAUGHT_FOR_EVER}")
    eventually(
        lambda: session.value(
            "select count(*) from pg_locks where relation = 't'::regclass and pid = %s", [job.pid]
        )
    )
    return job


@pytest.mark.parametrize("verb", WAITS)
@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_whoever_waits_keeps_the_time_out_of_a_job_that_catches_it(
    launcher: Session, observer: Session, verb: str, level: str
) -> None:
    observer.execute(
        f"set statement_timeout = '20s'; set default_transaction_isolation = '{level}'"
    )
    if verb != "await":
        observer.execute("begin")
        observer.execute("select 1")
    job = overdue(launcher)
    observer.execute(WAITS[verb].format(*job))
    if verb != "await":
        observer.execute("commit")
    if verb != "drain":
        assert_timed_out(launcher, job)
    row = launcher.job(job)
    assert (row["state"], row["timed_out"], row["sqlstate"]) == ("error", True, "57014")
    assert launcher.rows("select n from t") == []


@pytest.mark.parametrize("how", ["refused", "queued"])
def test_a_launch_into_a_full_house_ends_a_job_that_catches_its_time_out(
    launcher: Session, observer: Session, admin: Session, how: str
) -> None:
    job = overdue(launcher)
    limit(admin, "database", 1)
    if how == "queued":
        observer.execute("set pg_background.when_full = 'queue'; set statement_timeout = '20s'")
        following = observer.launch("select 7")
        assert following.pid == 0
        assert observer.result(following, "n int4") == [(7,)]
    else:

        def launched() -> Handle | None:
            try:
                return observer.launch("select 7")
            except psycopg.errors.ConfigurationLimitExceeded:
                return None

        assert observer.result(eventually(launched) or job, "n int4") == [(7,)]
    assert_timed_out(admin, job)
