"""The queue: a full house takes jobs all the same, and starts them by itself, in order and fairly."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import Stops, limit, states, until_running, use_queue
from tests.integration.session import Handle, Session


@pytest.fixture
def stops(db: Database) -> Stops:
    """Give stops that are all let go when the test ends."""
    return Stops(db.connect(application_name="stops"))


@pytest.fixture
def full(launcher: Session, gate: Gate) -> Handle:
    """Fill the launcher's house, which has one place, with a job that waits at the gate."""
    use_queue(launcher, 1)
    job = launcher.launch(gate.sql)
    gate.arrived()
    return job


def test_without_being_asked_to_queue_a_full_house_refuses(launcher: Session, gate: Gate) -> None:
    launcher.execute("set pg_background.max_workers = 1")
    job = launcher.launch(gate.sql)
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as refusal:
        launcher.launch("select 1")
    diag = refusal.value.diag
    assert diag.message_primary == "pg_background: too many background workers"
    assert diag.message_detail == "Current limit is 1 concurrent workers per session."
    assert "pg_background.max_workers" in (diag.message_hint or "")
    assert "pg_background.when_full" in (diag.message_hint or "")
    gate.open()
    assert launcher.finished(job).state == "stopped"
    assert launcher.result(launcher.launch("select 1"), "n int4") == [(1,)]


def test_a_setting_that_is_neither_error_nor_queue_is_refused(launcher: Session) -> None:
    launcher.execute("set pg_background.when_full = 'perhaps'")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"pg_background\.when_full"):
        launcher.launch("select 1")


@pytest.mark.usefixtures("full")
def test_a_full_house_queues_a_job_and_tells_so(launcher: Session, admin: Session) -> None:
    queued = launcher.launch("select 1", label="second")
    assert queued.pid == 0
    assert queued.cookie > 0
    outcome = launcher.outcome(queued)
    assert (outcome.pid, outcome.state, outcome.completed) == (0, "queued", False)
    assert (outcome.has_error, outcome.row_count, outcome.command_tag) == (False, 0, "")
    assert (0, queued.cookie, "queued", "second") in launcher.listed()
    row = admin.job(queued)
    assert (row["state"], row["pid"], row["executor_pid"]) == ("queued", 0, None)
    assert launcher.call("get_progress", *queued) in ([], [(None, None)])


@pytest.mark.usefixtures("full")
def test_a_queued_job_starts_by_itself_when_a_place_is_free(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    queued = launcher.launch("select 42")
    gate.open()
    ended = admin.until_ended(queued)
    assert (ended.state, ended.command_tag, ended.row_count) == ("stopped", "SELECT", 1)
    assert ended.pid != 0
    assert launcher.result(queued, "n int4") == [(42,)]


@pytest.mark.usefixtures("full")
def test_jobs_start_in_the_order_of_their_launch(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (id int4 generated always as identity, n int4)")
    jobs = [launcher.launch(f"insert into t (n) values ({n})") for n in range(12)]
    assert {job.pid for job in jobs} == {0}
    gate.open()
    for job in jobs:
        assert admin.until_ended(job).state == "stopped"
    assert launcher.rows("select n from t order by id") == [(n,) for n in range(12)]


@pytest.mark.usefixtures("full")
def test_a_job_does_not_pass_those_of_its_role_that_wait_already(
    launcher: Session, observer: Session, admin: Session, gate: Gate, app: str
) -> None:
    limit(admin, "role", 2, app)
    use_queue(observer)
    second = observer.launch(gate.sql)
    gate.arrived(2)
    third = launcher.launch("select 3")
    fourth = observer.launch("select 4")
    assert (second.pid != 0, third.pid, fourth.pid) == (True, 0, 0)
    gate.open()
    for job in (third, fourth):
        assert admin.until_ended(job).state == "stopped"


def test_a_session_at_its_own_limit_does_not_hold_back_the_others_of_its_role(
    launcher: Session, observer: Session, admin: Session, stops: Stops
) -> None:
    use_queue(launcher, 1)
    use_queue(observer, 1)
    launcher.launch(stops.at(1))
    waits = launcher.launch("select 1")
    runs = observer.launch(stops.at(2))
    until_running(admin, runs)
    assert states(admin, waits) == ["queued"]
    stops.release(1, 2)
    admin.until_ended(waits)


def test_places_go_to_the_role_that_has_fewest(
    connect: Callable[..., Session], roles: Roles, admin: Session, stops: Stops, launcher: Session
) -> None:
    limit(admin, "database", 2)
    other = connect(roles.create("other"))
    use_queue(launcher)
    use_queue(other)
    many = [launcher.launch(stops.at(n)) for n in range(5)]
    few = [other.launch(stops.at(n)) for n in (10, 11)]
    until_running(admin, *many[:2])
    assert states(admin, *many[2:], *few) == ["queued"] * 5
    stops.release(0)
    until_running(admin, few[0])
    assert states(admin, many[2], few[1]) == ["queued", "queued"]
    stops.release(1)
    until_running(admin, many[2])
    assert states(admin, many[3], few[1]) == ["queued", "queued"]
    stops.release(2)
    until_running(admin, many[3])
    assert states(admin, few[1]) == ["queued"], "one place each, and its job came later"
    stops.release(10)
    until_running(admin, few[1])
    assert states(admin, many[4]) == ["queued"]
    stops.release(3, 4, 11)
    for job in (*many, *few):
        assert admin.until_ended(job).state == "stopped"


@pytest.mark.usefixtures("full")
def test_a_canceled_job_never_runs(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    first, second, third = (launcher.launch(f"insert into t values ({n})") for n in (1, 2, 3))
    launcher.cancel(first)
    observer.cancel(second, 1000)
    for job in (first, second):
        outcome = launcher.outcome(job)
        assert (outcome.state, outcome.sqlstate, outcome.completed) == ("canceled", "57014", True)
        assert launcher.wait(job)
        with pytest.raises(psycopg.errors.QueryCanceled):
            launcher.result(job)
    gate.open()
    assert admin.until_ended(third).state == "stopped"
    assert launcher.rows("select n from t") == [(3,)]
    assert states(admin, first, second) == ["canceled", "canceled"]
    assert [admin.job(job)["pid"] for job in (first, second)] == [0, 0]


@pytest.mark.usefixtures("full")
def test_all_verbs_that_cancel_reach_queued_jobs(launcher: Session, admin: Session) -> None:
    labelled = launcher.launch("select 1", label="nightly one")
    plain = launcher.launch("select 1")
    assert launcher.call("cancel_by_label", "nightly%") == [(1,)]
    assert states(admin, labelled, plain) == ["canceled", "queued"]
    assert launcher.call("cancel_all") == [(2,)]
    assert states(admin, plain) == ["canceled"]


@pytest.mark.usefixtures("full")
def test_a_detached_job_leaves_the_list_and_still_runs(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch("insert into t values (1)")
    launcher.detach(job)
    assert job.cookie not in [row[1] for row in launcher.listed()]
    gate.open()
    assert admin.until_ended(job).state == "stopped"
    assert launcher.rows("select n from t") == [(1,)]


@pytest.mark.usefixtures("full")
def test_a_queued_job_that_fails_tells_its_error_and_the_next_one_runs(
    launcher: Session, gate: Gate, admin: Session
) -> None:
    bad, good = launcher.launch("select 1 / 0"), launcher.launch("select 1")
    gate.open()
    assert admin.until_ended(good).state == "stopped"
    assert launcher.outcome(bad).sqlstate == "22012"


@pytest.mark.usefixtures("full")
def test_submit_and_run_queue_too(
    launcher: Session, observer: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    submitted = launcher.submit("insert into t values (1)")
    assert submitted.pid == 0
    launcher.connection.pgconn.send_query(
        b"select state from background.pg_background_run('insert into t values (2)')"
    )
    eventually(
        lambda: admin.value("select count(*) from pgbackground.job where state = 'queued'") == 2
    )
    gate.open()
    answer = launcher.connection.pgconn.get_result()
    assert answer is not None
    assert answer.get_value(0, 0) == b"stopped"
    assert launcher.connection.pgconn.get_result() is None
    assert observer.rows("select n from t order by n") == [(1,), (2,)]


@pytest.mark.usefixtures("full")
def test_top_level_jobs_wait_in_the_queue_like_others(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    vacuum = launcher.launch("vacuum (verbose) t")
    index = launcher.launch("create index concurrently t_n on t (n)")
    insert = launcher.launch("insert into t values (1)")
    again = launcher.launch("vacuum t")
    assert {job.pid for job in (vacuum, index, insert, again)} == {0}
    launcher.execute("commit")
    gate.open()
    for job, tag in (
        (vacuum, "VACUUM"),
        (index, "CREATE INDEX"),
        (insert, "INSERT"),
        (again, "VACUUM"),
    ):
        ended = admin.until_ended(job)
        assert (ended.state, ended.command_tag, ended.error_message) == ("stopped", tag, None)
    assert admin.job(vacuum)["mode"] == "top-level"
    assert launcher.call("messages", *vacuum), "VACUUM VERBOSE has told something"


def test_a_top_level_job_that_ends_hands_its_place_on(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("create table t (n int4)")
    use_queue(launcher, 1)
    gate.lock_table("t")
    vacuum = launcher.launch("vacuum t")
    gate.arrived()
    queued = launcher.launch("select 1")
    assert queued.pid == 0
    gate.open()
    assert admin.until_ended(vacuum).state == "stopped"
    assert admin.until_ended(queued).state == "stopped"


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("text", ["select 1", "vacuum"], ids=["inline", "top-level"])
def test_a_long_queue_of_jobs_with_a_time_out_opens_few_connections(
    launcher: Session, admin: Session, gate: Gate, db: Database, text: str
) -> None:
    launcher.execute("create table t (n int4)")
    launcher.execute("set pg_background.worker_timeout = '20s'")
    if text == "vacuum":
        text = "vacuum t"
    jobs = [launcher.launch(text) for _ in range(15)]
    gate.open()
    for job in jobs:
        assert admin.until_ended(job).state == "stopped"
    sessions = admin.value(
        "select count(*) from pg_stat_activity where datname = %s and backend_type = 'client backend'",
        [db.name],
    )
    assert sessions <= 12, "each job that ended must not leave its connections behind"


@pytest.mark.usefixtures("full")
def test_a_time_out_counts_from_the_start_not_from_the_launch(
    launcher: Session, admin: Session, gate: Gate, stops: Stops
) -> None:
    launcher.execute("set pg_background.worker_timeout = '1500ms'")
    patient = launcher.launch("select 1")
    slow = launcher.launch(stops.at(1))
    launcher.execute("select pg_sleep(1.6)")
    assert states(admin, patient, slow) == ["queued", "queued"]
    gate.open()
    assert admin.until_ended(patient).state == "stopped"
    ended = admin.until_ended(slow)
    assert (ended.state, ended.sqlstate) == ("error", "57014")
    assert admin.job(slow)["timed_out"]
