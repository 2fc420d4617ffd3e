"""Attempts: what has failed and left nothing is tried again, later and later, and its last error is the job's."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_wait import Gate, eventually
from tests.integration.queues import ended, enqueue
from tests.integration.session import Session

SERIALIZATION = "do $$ begin raise exception using errcode = '40001', message = 'not now'; end $$"
NOT_LOCKED = "do $$ begin raise exception using errcode = '55P03', message = 'busy'; end $$"
UNKNOWN = "do $$ begin raise exception using errcode = '08007', message = 'who knows'; end $$"


@pytest.mark.parametrize(
    ("text", "retry_on", "attempts", "sqlstate"),
    [
        (SERIALIZATION, "transient", 3, "40001"),
        (NOT_LOCKED, "transient", 3, "55P03"),
        ("select 1 / 0", "transient", 1, "22012"),
        ("select 1 / 0", "any", 3, "22012"),
        (UNKNOWN, "transient", 1, "08007"),
        (UNKNOWN, "any", 1, "08007"),
    ],
)
def test_what_is_tried_again(
    launcher: Session, observer: Session, text: str, retry_on: str, attempts: int, sqlstate: str
) -> None:
    job = enqueue(launcher, text, attempts=3, backoff="10 ms", retry_on=retry_on)
    assert ended(observer, job) == ("error", sqlstate)
    row = observer.job(job)
    assert (row["attempt"], row["attempts"]) == (attempts, 3)
    messages = observer.call("messages", *job)
    assert [(seq, severity) for seq, severity, *_ in messages] == [
        (n, "ERROR") for n in range(1, attempts)
    ]
    for number, (_, _, message, detail, _) in enumerate(messages, 1):
        assert message == row["message"]
        assert detail == f"Attempt {number} of 3, SQLSTATE {sqlstate}."


def test_an_attempt_that_succeeds_ends_the_job_under_the_same_handle(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("create sequence tries")
    launcher.execute("create table t (n int8)")
    job = enqueue(
        launcher,
        "insert into t select nextval('tries'); select 1 / (case when currval('tries') < 3 then 0 else 1 end)",
        attempts=5,
        backoff="10 ms",
        retry_on="any",
    )
    assert observer.wait(job)
    row = observer.job(job)
    assert (row["state"], row["attempt"], row["sqlstate"]) == ("stopped", 3, None)
    assert observer.rows("select n from t") == [(3,)]
    assert len(observer.call("messages", *job)) == 2


def test_the_pause_doubles(launcher: Session, observer: Session) -> None:
    job = enqueue(launcher, "select 1 / 0", attempts=10, backoff="1 hour", retry_on="any")
    eventually(lambda: observer.job(job)["attempt"] == 2)
    row = observer.job(job)
    assert (row["state"], row["waits_for"], row["sqlstate"]) == ("queued", "time", None)
    minutes = observer.value(
        "select extract(epoch from run_at - now()) / 60 from background.pg_background_jobs where cookie = %s",
        [job.cookie],
    )
    assert 53 < minutes < 66.1
    observer.cancel(job)
    assert ended(observer, job) == ("canceled", "57014")


def test_a_canceled_attempt_is_the_last(launcher: Session, observer: Session, gate: Gate) -> None:
    job = enqueue(launcher, gate.sql, attempts=5, backoff="0 s", retry_on="any")
    gate.arrived()
    observer.cancel(job)
    assert ended(observer, job) == ("canceled", "57014")
    assert observer.job(job)["attempt"] == 1


def test_a_lost_worker_costs_one_attempt(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    job = enqueue(launcher, f"insert into t values (1); {gate.sql}", attempts=2, backoff="10 ms")
    (pid,) = gate.arrived()
    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    assert not observer.wait(job, 1)
    gate.arrived()
    assert observer.job(job)["attempt"] == 2
    gate.open()
    assert ended(observer, job) == ("stopped", None)
    assert observer.rows("select n from t") == [(1,)]
    ((_, _, _, detail, _),) = observer.call("messages", *job)
    assert detail.startswith("Attempt 1 of 2, SQLSTATE 57P01.")


def test_a_tick_finds_a_lost_worker_that_nobody_waits_for(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    job = enqueue(launcher, gate.sql, attempts=2, backoff="0 s")
    (pid,) = gate.arrived()
    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    gate.open()
    admin.call("tick")
    stopped = "select attempt from pgbackground.job where state = 'stopped' and cookie = %s"
    assert eventually(lambda: admin.value(stopped, [job.cookie])) == 2


def test_the_last_lost_worker_is_the_jobs_error(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    job = enqueue(launcher, gate.sql, attempts=1)
    (pid,) = gate.arrived()
    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    assert ended(observer, job) == ("error", "57P01")


def test_a_time_out_bounds_each_attempt(launcher: Session, observer: Session, gate: Gate) -> None:
    job = enqueue(launcher, gate.sql, timeout_ms=300, attempts=2, backoff="0 s", retry_on="any")
    assert ended(observer, job) == ("error", "57014")
    row = observer.job(job)
    assert (row["attempt"], row["timed_out"]) == (2, True)


def test_the_serialization_failure_of_a_commit_is_tried_again(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("create table counter (n int4); insert into counter values (0)")
    launcher.execute("set default_transaction_isolation = 'serializable'")
    jobs = [
        enqueue(
            launcher,
            f"select n from counter; {gate.sql}; update counter set n = n + 1",
            attempts=10,
            backoff="10 ms",
        )
        for _ in range(3)
    ]
    gate.arrived(3)
    gate.open()
    assert [ended(observer, job) for job in jobs] == [("stopped", None)] * 3
    assert observer.value("select n from counter") == 3
    assert sum(observer.job(job)["attempt"] for job in jobs) > 3


@pytest.mark.parametrize(
    ("options", "sqlstate"),
    [
        ({"attempts": 0}, "22023"),
        ({"attempts": -1}, "22023"),
        ({"attempts": 1001}, "22023"),
        ({"attempts": None}, "22023"),
        ({"priority": None}, "22023"),
        ({"backoff": "-1 s"}, "22023"),
        ({"backoff": None}, "22023"),
        ({"retry_on": "everything"}, "22023"),
        ({"retry_on": None}, "22023"),
        ({"after_state": "error"}, "22023"),
        ({"after_state": None}, "22023"),
        ({"after": [None]}, "22023"),
        ({"after": [[1, 2], [3, 4]]}, "22023"),
        ({"after": [1]}, "42704"),
        ({"after": list(range(1, 1002))}, "54000"),
        ({"key": ""}, "22023"),
        ({"key": "k" * 256}, "22023"),
        ({"notify": ""}, "22023"),
        ({"notify": "c" * 64}, "22023"),
        ({"timeout_ms": -1}, "22023"),
        ({"timeout_ms": None}, "22023"),
        ({"run_at": "infinity"}, "22023"),
        ({"run_at": "-infinity"}, "22023"),
        ({"params": "{}"}, "22023"),
        ({"label": "l" * 65}, "22001"),
    ],
    ids=str,
)
def test_bad_arguments_queue_nothing(
    launcher: Session, observer: Session, options: dict[str, object], sqlstate: str
) -> None:
    with pytest.raises(psycopg.Error) as refusal:
        enqueue(launcher, "select 1", **options)
    assert refusal.value.sqlstate == sqlstate
    assert str(refusal.value.diag.message_primary).startswith("pg_background: ")
    assert observer.rows("select * from background.pg_background_jobs") == []


def test_a_null_text_is_a_null_handle(launcher: Session) -> None:
    assert not any(enqueue(launcher, None))


def test_parameters_are_bound_and_rows_are_kept_unless_told_otherwise(
    launcher: Session, observer: Session
) -> None:
    kept = enqueue(launcher, "select $1::int4 + 1", params="[41]")
    thrown = enqueue(launcher, "select 1", keeps_rows=False)
    assert observer.result(kept, "n int4") == [(42,)]
    assert ended(observer, thrown) == ("stopped", None)
    with pytest.raises(psycopg.Error) as refusal:
        observer.result(thrown, "n int4")
    assert refusal.value.sqlstate == "0A000"
    with pytest.raises(psycopg.Error) as several:
        enqueue(launcher, "select $1; select $1", params="[1]")
    assert several.value.sqlstate == "0A000"
