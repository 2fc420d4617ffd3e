"""after: a job begins when all that it waits for have ended, and ends with the first of them that fails."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.fix_wait import Gate, eventually
from tests.integration.queues import Stops, ended, enqueue, states
from tests.integration.session import Session


@pytest.fixture
def stops(db: Database) -> Stops:
    """Give stops that are all let go when the test ends."""
    return Stops(db.connect(application_name="stops"))


def test_a_chain_runs_in_its_order(launcher: Session, observer: Session) -> None:
    launcher.execute("create table t (id int4 generated always as identity, n int4)")
    launcher.execute("begin")
    job = enqueue(launcher, "insert into t (n) values (0)")
    for n in range(1, 30):
        job = enqueue(launcher, f"insert into t (n) values ({n})", after=[job.cookie])
    launcher.execute("commit")
    assert ended(observer, job) == ("stopped", None)
    assert observer.rows("select n from t order by id") == [(n,) for n in range(30)]


def test_a_gatherer_waits_for_all_that_were_sent_out_together(
    launcher: Session, observer: Session, stops: Stops
) -> None:
    launcher.execute("begin")
    parts = [enqueue(launcher, stops.at(n)) for n in range(4)]
    gather = enqueue(launcher, "select 1", after=[part.cookie for part in parts])
    launcher.execute("commit")
    stops.release(0, 1, 2)
    assert [ended(observer, part) for part in parts[:3]] == [("stopped", None)] * 3
    assert observer.job(gather)["state"] == "queued"
    assert observer.job(gather)["waits_for"] == f"job {parts[3].cookie}"
    stops.release(3)
    assert ended(observer, gather) == ("stopped", None)


def test_the_children_of_one_job_begin_together(launcher: Session, gate: Gate) -> None:
    launcher.execute("begin")
    parent = enqueue(launcher, "select 1")
    for _ in range(6):
        enqueue(launcher, gate.sql, after=[parent.cookie])
    launcher.execute("commit")
    gate.arrived(6, timeout=2)


def test_a_failed_parent_cancels_its_children_and_theirs(
    launcher: Session, observer: Session
) -> None:
    launcher.execute("begin")
    parent = enqueue(launcher, "select 1 / 0", label="divide")
    child = enqueue(launcher, "select 1", after=[parent.cookie])
    grandchild = enqueue(launcher, "select 1", after=[child.cookie])
    anyway = enqueue(launcher, "select 1", after=[parent.cookie], after_state="ended")
    launcher.execute("commit")
    assert ended(observer, anyway) == ("stopped", None)
    for job, culprit in ((child, f"{parent.cookie} (divide)"), (grandchild, str(child.cookie))):
        assert ended(observer, job) == ("canceled", "57014")
        detail = observer.error_info(job)["detail"]
        assert detail.startswith(f"Job {culprit} ended as ")


def test_a_long_chain_ends_with_its_head(launcher: Session, observer: Session, gate: Gate) -> None:
    launcher.execute("begin")
    head = enqueue(launcher, f"{gate.sql}; select 1 / 0")
    launcher.execute(
        "do $$ declare c int8 := " + str(head.cookie) + "; begin for n in 1 .. 1500 loop"
        " c := (background.pg_background_enqueue('select 1', after => array[c])).cookie; end loop; end $$"
    )
    launcher.execute("commit")
    gate.open()
    assert ended(observer, head) == ("error", "22012")
    assert observer.rows(
        "select state, count(*) from background.pg_background_jobs group by 1 order by 1"
    ) == [
        ("canceled", 1500),
        ("error", 1),
    ]


def test_a_canceled_parent_cancels_its_children(launcher: Session, observer: Session) -> None:
    launcher.execute("begin")
    parent = enqueue(launcher, "select 1", run_at="2999-01-01")
    child = enqueue(launcher, "select 1", after=[parent.cookie])
    launcher.execute("commit")
    observer.cancel(parent)
    assert ended(observer, child) == ("canceled", "57014")


def test_a_parent_that_has_ended_already_counts_by_its_outcome(
    launcher: Session, observer: Session
) -> None:
    good, bad = launcher.launch("select 1"), launcher.launch("select 1 / 0")
    launcher.wait(good)
    launcher.wait(bad)
    after_both = enqueue(launcher, "select 1", after=[good.cookie, bad.cookie], after_state="ended")
    assert ended(observer, enqueue(launcher, "select 1", after=[good.cookie])) == ("stopped", None)
    assert ended(observer, after_both) == ("stopped", None)
    assert ended(observer, enqueue(launcher, "select 1", after=[bad.cookie])) == (
        "canceled",
        "57014",
    )


def test_a_parent_that_ends_before_the_child_is_committed_counts(
    launcher: Session, observer: Session, stops: Stops
) -> None:
    parent = observer.launch(stops.at(1))
    launcher.execute("begin")
    child = enqueue(launcher, "select 1", after=[parent.cookie])
    stops.release(1)
    observer.wait(parent)
    launcher.execute("commit")
    assert ended(observer, child) == ("stopped", None)


def test_others_jobs_are_nobodys_parents(
    launcher: Session, connect: Callable[..., Session], roles: Roles
) -> None:
    stranger = connect(roles.create("stranger"))
    theirs = enqueue(stranger, "select 1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        enqueue(launcher, "select 1", after=[theirs.cookie])


def test_parents_that_end_at_the_same_moment_release_their_child(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    for number in range(150):
        if number:
            gate.close()
        launcher.execute("begin")
        first, second = enqueue(launcher, gate.sql), enqueue(launcher, gate.sql)
        child = enqueue(launcher, "select 1", after=[first.cookie, second.cookie])
        launcher.execute("commit")
        gate.arrived(2)
        gate.open()
        assert ended(observer, child) == ("stopped", None), number
        late = observer.value(
            "select extract(epoch from c.started_at - max(p.finished_at)) * 1000 from background.pg_background_jobs c,"
            " background.pg_background_jobs p where c.cookie = %s and p.cookie = any (%s) group by c.started_at",
            [child.cookie, [first.cookie, second.cookie]],
        )
        assert late >= 0, "a child began before its parents had ended"
        # Where neither parent could see the other's end, the clock does, which looks once a second.
        assert late < 2000, number


def test_a_parent_whose_record_is_too_old_stays_while_a_child_waits(
    launcher: Session, observer: Session, admin: Session, stops: Stops
) -> None:
    bad = launcher.launch("select 1 / 0")
    launcher.wait(bad)
    busy = launcher.launch(stops.at(1))
    launcher.execute("begin")
    child = enqueue(launcher, "select 1", after=[busy.cookie], after_state="ended")
    launcher.execute("commit")
    # In one transaction: the clock would see at once that this parent has ended.
    admin.execute("begin")
    admin.execute("insert into pgbackground.dependency values (%s, %s)", [child.cookie, bad.cookie])
    admin.execute(
        "update pgbackground.job set finished_at = now() - interval '1 year' where cookie = %s",
        [bad.cookie],
    )
    admin.execute("select pgbackground.retire(1000)")
    assert states(admin, bad) == ["error"]
    admin.execute("commit")
    stops.release(1)
    assert ended(observer, child) == ("stopped", None)
    eventually(lambda: admin.value("select count(*) from pgbackground.dependency") == 0)


def test_a_parent_that_fails_while_another_one_releases_its_child_still_cancels_it(
    launcher: Session, observer: Session, admin: Session, stops: Stops
) -> None:
    launcher.execute("begin")
    good = enqueue(launcher, stops.at(1))
    bad = enqueue(launcher, f"{stops.at(2)}; select 1 / 0", label="bad")
    child = enqueue(launcher, "select 1", after=[good.cookie, bad.cookie])
    launcher.execute("commit")
    eventually(lambda: states(admin, good, bad) == ["running"] * 2)
    # Whoever releases the child stops where its dependencies go.
    admin.execute("begin; lock table pgbackground.dependency in share mode")
    stops.release(1)
    eventually(
        lambda: observer.value(
            "select count(*) from pg_locks where relation = 'pgbackground.dependency'::regclass and not granted"
        )
    )
    stops.release(2)
    assert ended(observer, bad) == ("error", "22012")
    admin.execute("commit")
    assert ended(observer, child) == ("canceled", "57014")
    assert observer.error_info(child)["detail"].startswith(f"Job {bad.cookie} (bad) ended as ")


def test_a_child_does_not_wait_for_somebody_to_look_at_its_lost_parent(
    launcher: Session, admin: Session, gate: Gate
) -> None:
    launcher.execute("begin")
    parent = enqueue(launcher, gate.sql, attempts=2, backoff="0 s")
    child = enqueue(launcher, "select 1", after=[parent.cookie])
    launcher.execute("commit")
    (pid,) = gate.arrived()
    admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    gate.open()
    stopped = "select count(*) from pgbackground.job where state = 'stopped'"
    eventually(lambda: admin.value(stopped) == 2)
    assert (admin.job(parent)["attempt"], states(admin, child)) == (2, ["stopped"])
