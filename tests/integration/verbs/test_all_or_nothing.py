"""An inline job is `stopped` if and only if everything it did is committed."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_wait import Gate
from tests.integration.session import Session


@pytest.fixture(autouse=True)
def tables(launcher: Session) -> None:
    """Make two tables with a deferred reference between them."""
    launcher.execute("create table parent (n int4 primary key)")
    launcher.execute(
        "create table child (n int4 constraint known references parent deferrable"
        " initially deferred)"
    )


@pytest.mark.parametrize(
    "failing",
    [
        "select 1 / 0",
        "select 1 / (n - n) from parent",
        "insert into parent values (1)",
        "select no_such_column from parent",
        "selct",
        "do $$ begin raise exception 'no'; end $$",
        "do $$ begin assert false; end $$",
        "alter table parent add check (n < 0)",
    ],
)
def test_a_statement_that_fails_half_way_leaves_nothing_of_the_job(
    launcher: Session, failing: str
) -> None:
    job = launcher.launch(
        f"insert into parent values (1); create table made (n int4); {failing};"
        " insert into parent values (2)"
    )
    outcome = launcher.finished(job)
    assert outcome.state == "error"
    assert outcome.sqlstate is not None
    assert launcher.rows("select n from parent") == []
    assert launcher.value("select to_regclass('made')") is None
    assert outcome.row_count == 0


def test_a_statement_that_fails_after_many_rows_leaves_no_rows(
    launcher: Session, admin: Session
) -> None:
    job = launcher.launch("select 1 / (30000 - n) from generate_series(1, 30000) n")
    assert launcher.finished(job).sqlstate == "22012"
    with pytest.raises(psycopg.errors.DivisionByZero):
        launcher.result(job, "n int4")
    assert admin.value("select count(*) from pgbackground.job_rows") == 0


def test_a_deferred_constraint_that_fails_is_recorded_and_the_effects_are_gone(
    launcher: Session,
) -> None:
    job = launcher.launch("insert into child values (1); insert into parent values (2)")
    assert launcher.finished(job).sqlstate == "23503"
    error = launcher.error_info(job)
    assert (error["table_name"], error["constraint_name"]) == ("child", "known")
    assert launcher.rows("select n from child") == []
    assert launcher.rows("select n from parent") == []


def test_a_deferred_constraint_that_is_kept_in_the_end_holds(launcher: Session) -> None:
    job = launcher.launch("insert into child values (1); insert into parent values (1)")
    assert launcher.finished(job).state == "stopped"
    assert launcher.rows("select n from child") == [(1,)]


def test_a_deferred_trigger_that_fails_is_recorded(launcher: Session) -> None:
    launcher.execute(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'refused' using errcode = 'ZZ001'; end $$"
    )
    launcher.execute(
        "create constraint trigger late after insert on parent deferrable initially deferred"
        " for each row execute function refuse()"
    )
    job = launcher.launch("insert into parent values (1)")
    assert launcher.finished(job).sqlstate == "ZZ001"
    assert launcher.rows("select n from parent") == []


def test_a_serialization_failure_is_told_and_the_effects_are_gone(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    launcher.execute("create table counter (n int4)")
    launcher.execute("insert into counter values (0)")
    launcher.execute("set default_transaction_isolation = 'repeatable read'")
    job = launcher.launch(f"select n from counter; {gate.sql}; update counter set n = n + 1")
    gate.arrived()
    observer.execute("update counter set n = 10")
    gate.open()
    assert launcher.finished(job).sqlstate == "40001"
    assert launcher.rows("select n from counter") == [(10,)]


def test_a_serialization_failure_at_commit_is_told_and_the_effects_are_gone(
    launcher: Session, observer: Session, gate: Gate
) -> None:
    """Write skew: the job reads what the other writes and writes what the other has read."""
    launcher.execute("create table counter (name text, n int4)")
    launcher.execute("insert into counter values ('a', 0), ('b', 0)")
    launcher.execute("set default_transaction_isolation = 'serializable'")
    observer.execute("set default_transaction_isolation = 'serializable'")
    job = launcher.launch(
        "select sum(n) from counter; update counter set n = 1 where name = 'a';"
        f" {gate.sql}; select 1"
    )
    gate.arrived()
    observer.execute("begin")
    observer.rows("select sum(n) from counter")
    observer.execute("update counter set n = 1 where name = 'b'")
    observer.execute("commit")
    gate.open()
    launcher.wait(job)
    outcome = launcher.outcome(job)
    assert outcome.state == "error"
    assert outcome.sqlstate in ("40001", "57P01")
    assert observer.rows("select n from counter where name = 'a'") == [(0,)]
    following = launcher.launch("select 1")
    assert launcher.finished(following).state == "stopped"


def test_a_launcher_s_isolation_level_for_one_transaction_does_not_break_the_job(
    launcher: Session,
) -> None:
    for level in ("repeatable read", "serializable", "read committed"):
        launcher.execute(f"begin isolation level {level}")
        job = launcher.launch("show transaction_isolation")
        assert launcher.result(job) == [("read committed",)]
        launcher.execute("commit")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_session_s_default_isolation_level_is_the_job_s(launcher: Session, level: str) -> None:
    launcher.execute(f"set default_transaction_isolation = '{level}'")
    for _ in range(3):
        assert launcher.result(launcher.launch("show transaction_isolation")) == [(level,)]
    launcher.execute("reset default_transaction_isolation")
    assert launcher.result(launcher.launch("show transaction_isolation")) == [("read committed",)]


def test_effects_are_visible_as_soon_as_wait_returns(launcher: Session) -> None:
    for n in range(100):
        job = launcher.launch(f"insert into parent values ({n})")
        launcher.wait(job)
        assert launcher.value("select count(*) from parent") == n + 1
        assert launcher.outcome(job).state == "stopped"
