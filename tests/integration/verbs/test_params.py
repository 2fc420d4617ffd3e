"""launch_params: values for $1, $2 ... from a JSON array, bound by the server, never part of the text."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.fix_wait import Gate
from tests.integration.queues import use_queue
from tests.integration.session import Handle, Session


def launch(session: Session, text: str | None, params: Any, label: str | None = None) -> Handle:
    """Start a job with parameters; params as a JSON text or anything that json.dumps takes."""
    if params is not None and not isinstance(params, str):
        params = json.dumps(params)
    found = session.rows(
        "select pid, cookie from background.pg_background_launch_params(%s, %s::jsonb, %s)",
        [text, params, label],
    )
    return Handle(*found[0])


def answer(session: Session, text: str, params: Any, columns: str = "a text") -> Any:
    """The rows of a job with parameters."""
    return session.result(launch(session, text, params), columns)


INJECTIONS = [
    "'; drop table t; --",
    "'); delete from t; select ('",
    "\\'; delete from t; --",
    "$$; delete from t; $$",
    "$1",
    "%s %L %I {0}",
    "',(select 1),'",
    "/* */ -- \n;",
    "quo\"te 'and' \\ back\\slash",
    "line\nbreak\ttab\r",
    "größe 世界 🐘",
    "",
    " ",
    "null",
    "NULL",
]


@pytest.mark.parametrize("value", INJECTIONS)
@pytest.mark.parametrize("strings", ["on", "off"])
def test_a_value_stays_a_value(launcher: Session, value: str, strings: str) -> None:
    launcher.execute("create table t (n int4); insert into t values (1)")
    launcher.execute("set escape_string_warning = off")
    launcher.execute(f"set standard_conforming_strings = {strings}")
    assert answer(launcher, "select $1::text", [value]) == [(value,)]
    launcher.execute("set standard_conforming_strings = on")
    assert launcher.rows("select n from t") == [(1,)]


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("int4", 7, "7"),
        ("int4", "-2147483648", "-2147483648"),
        ("int8", 9223372036854775807, "9223372036854775807"),
        ("numeric", "123456789012345678901234567890.123456789", None),
        ("float8", 0.1, "0.1"),
        ("float8", "NaN", "NaN"),
        ("bool", True, "true"),
        ("bool", "f", "false"),
        ("text", "x", "x"),
        ("char(3)", "x", "x"),
        ("date", "2026-02-28", "2026-02-28"),
        ("timestamptz", "2026-02-28 12:00:00+00", None),
        ("interval", "1 day", "1 day"),
        ("uuid", "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"),
        ("bytea", "\\x00ff", "\\x00ff"),
        ("int4[]", "{1,null,3}", "{1,NULL,3}"),
        ("text[]", '{"a b","c,d"}', '{"a b","c,d"}'),
        ("jsonb", {"a": [1, None, "x"]}, '{"a": [1, null, "x"]}'),
        ("jsonb", [1, [2]], "[1, [2]]"),
        ("inet", "10.0.0.1", "10.0.0.1/32"),
        ("int4range", "[1,5)", "[1,5)"),
        ("regclass", "pg_class", "pg_class"),
    ],
)
def test_values_become_the_type_that_the_statement_gives_them(
    launcher: Session, kind: str, value: Any, shown: str | None
) -> None:
    expected = launcher.value(f"select ('{value}'::{kind})::text") if shown is None else shown
    assert answer(launcher, f"select ($1::{kind})::text", [value]) == [(expected,)]


def test_the_statement_itself_gives_the_types(launcher: Session) -> None:
    launcher.execute("create table t (id int8, at date, tags text[])")
    job = launch(
        launcher,
        "insert into t values ($1, $2, $3)",
        [12345678901, "2026-01-02", "{a,b}"],
    )
    assert launcher.finished(job).state == "stopped"
    assert launcher.rows("select id, at::text, tags from t") == [
        (12345678901, "2026-01-02", ["a", "b"])
    ]
    found = answer(launcher, "select id from t where tags @> $1 and at < $2", ["{b}", "2027-01-01"])
    assert found == [("12345678901",)]


def test_a_json_null_is_a_null(launcher: Session) -> None:
    found = answer(
        launcher, "select $1::int4, $2::text is null, $3::text", [None, None, "null"],
        "a int4, b bool, c text",
    )  # fmt: skip
    assert found == [(None, True, "null")]


def test_places_may_come_in_any_order_and_more_than_once(launcher: Session) -> None:
    found = answer(launcher, "select $2::text || $1::text || $2::text", ["a", "b"])
    assert found == [("bab",)]
    many = [str(n) for n in range(1, 61)]
    text = "select concat(" + ", ".join(f"${n}::text" for n in range(1, 61)) + ")"
    assert answer(launcher, text, many) == [("".join(many),)]


def test_a_dollar_in_a_string_or_a_comment_is_no_parameter(launcher: Session) -> None:
    found = answer(
        launcher, "select '$2', $x$ $3 $x$, $1::text -- $4", ["v"], "a text, b text, c text"
    )
    assert found == [("$2", " $3 ", "v")]


@pytest.mark.parametrize("params", [[], ["1"], ["1", "2", "3"]])
def test_a_wrong_number_of_values_is_the_jobs_error(launcher: Session, params: list[str]) -> None:
    job = launch(launcher, "select $1::text, $2::text", params)
    outcome = launcher.finished(job)
    assert (outcome.state, outcome.sqlstate) == ("error", "42601")
    assert "wrong number of parameters" in (outcome.error_message or "")
    with pytest.raises(psycopg.errors.SyntaxError):
        launcher.result(job)


def test_a_value_that_is_none_of_its_type_is_the_jobs_error(launcher: Session) -> None:
    outcome = launcher.finished(launch(launcher, "select $1::int4", ["seven"]))
    assert (outcome.state, outcome.sqlstate) == ("error", "22P02")


def test_a_statement_without_parameters_takes_an_empty_array_or_null(launcher: Session) -> None:
    assert answer(launcher, "select 1", [], "n int4") == [(1,)]
    assert answer(launcher, "select 1", None, "n int4") == [(1,)]


def test_several_statements_are_refused(launcher: Session, admin: Session) -> None:
    for text in ("select $1::int4; select 2", "delete from t; insert into t values ($1)"):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="single statement"):
            launch(launcher, text, [1])
    assert admin.value("select count(*) from pgbackground.job") == 0
    assert answer(launcher, "select $1::int4;", [1], "n int4") == [(1,)]
    assert answer(launcher, "select $1::text || ';'; -- the end", ["x"]) == [("x;",)]


@pytest.mark.parametrize("params", ['{"a": 1}', '"text"', "1", "true", "null"])
def test_anything_but_an_array_is_refused(launcher: Session, admin: Session, params: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must be a JSON array"):
        launch(launcher, "select $1::text", params)
    assert admin.value("select count(*) from pgbackground.job") == 0


def test_a_null_text_is_a_null_handle(launcher: Session) -> None:
    assert list(launch(launcher, None, [1])) == [None, None]


@pytest.mark.parametrize(
    ("text", "params", "tag", "rows", "full"),
    [
        ("insert into t select g, $1 from generate_series(1, 4) g", ["x"], "INSERT", 4, "INSERT 0 4"),
        ("insert into t values (1, $1) on conflict (n) do nothing", ["x"], "INSERT", 0, "INSERT 0 0"),
        ("insert into t values (1, $1), (9, $1) on conflict (n) do update set v = $1",
         ["x"], "INSERT", 2, "INSERT 0 2"),
        ("update t set v = $1 where n <= 2", ["x"], "UPDATE", 2, "UPDATE 2"),
        ("update t set v = $1 where false", ["x"], "UPDATE", 0, "UPDATE 0"),
        ("delete from t where n > $1", [1], "DELETE", 2, "DELETE 2"),
        ("delete from t using (values ($1::int4)) x(n) where t.n = x.n", [3], "DELETE", 1, "DELETE 1"),
        ("with x as (select $1::int4 as n) delete from t where n in (select n from x)",
         [3], "DELETE", 1, "DELETE 1"),
        ("delete from t where n = $1 -- the end", [1], "DELETE", 1, "DELETE 1"),
        ("/* first */ with x as (select 1) update t set v = $1 where n > 1", ["x"], "UPDATE", 2, "UPDATE 2"),
        ("delete from t where n = $1;", [1], "DELETE", 1, "DELETE 1"),
        ("with gone as (delete from t where n = $1 returning n) insert into u select n from gone",
         [1], "INSERT", 1, "INSERT 0 1"),
    ],
)  # fmt: skip
def test_statements_that_change_rows_tell_how_many(
    launcher: Session, text: str, params: list[Any], tag: str, rows: int, full: str
) -> None:
    launcher.execute("create table t (n int4 primary key, v text); create table u (n int4)")
    launcher.execute("insert into t values (1), (2), (3)" if "generate" not in text else "select 1")
    job = launch(launcher, text, params)
    outcome = launcher.finished(job)
    assert (outcome.state, outcome.command_tag, outcome.row_count) == ("stopped", tag, rows), (
        outcome.error_message
    )
    assert launcher.result(job) == [(full,)]


@pytest.mark.parametrize("end", ["", ";", " -- the end"])
def test_a_merge_tells_how_many_rows_where_the_server_can(launcher: Session, end: str) -> None:
    launcher.execute(
        "create table t (n int4 primary key, v text); insert into t values (1), (2), (3)"
    )
    text = (
        "merge into t using (values (1), (2), (3), (4)) x(n) on t.n = x.n"
        " when matched and t.n = 3 then do nothing when matched and t.n = 1 then delete"
        " when matched then update set v = $1 when not matched then insert values (x.n, $1)"
    )
    job = launch(launcher, text + end, ["new"])
    counted = 3 if launcher.connection.info.server_version >= 170000 else 0
    outcome = launcher.finished(job)
    assert (outcome.state, outcome.command_tag, outcome.row_count) == ("stopped", "MERGE", counted)
    assert launcher.result(job) == [(f"MERGE {counted}",)]
    assert launcher.rows("select n, v from t order by n") == [(2, "new"), (3, None), (4, "new")]


def test_rows_that_a_changing_statement_returns_are_its_result(launcher: Session) -> None:
    launcher.execute("create table t (n int4, v text)")
    job = launch(launcher, "insert into t values ($1, $2), ($1, null) returning n, v", [1, "a"])
    assert launcher.result(job, "n int4, v text") == [(1, "a"), (1, None)]
    assert launcher.outcome(job).row_count == 2
    assert launcher.rows("select count(*) from t") == [(2,)]


def test_a_select_tells_how_many_rows_it_has(launcher: Session) -> None:
    job = launch(launcher, "select g from generate_series(1, $1::int4) g", [2500])
    assert launcher.result(job, "g int4") == [(n,) for n in range(1, 2501)]
    outcome = launcher.outcome(job)
    assert (outcome.command_tag, outcome.row_count) == ("SELECT", 2500)


def test_a_failing_statement_changes_nothing(launcher: Session) -> None:
    launcher.execute("create table t (n int4 check (n < 3))")
    job = launch(launcher, "insert into t select g from generate_series(1, $1::int4) g", [5])
    outcome = launcher.finished(job)
    assert (outcome.state, outcome.sqlstate) == ("error", "23514")
    assert launcher.error_info(job)["table_name"] == "t"
    assert launcher.rows("select n from t") == []


def test_label_text_and_launchers_settings_are_those_of_any_job(launcher: Session) -> None:
    launcher.execute("set app.tenant = 'blue'")
    text = "select current_setting('app.tenant') || $1::text"
    job = launch(launcher, text, ["!"], "with values")
    assert launcher.result(job) == [("blue!",)]
    assert launcher.outcome(job).label == "with values"
    assert launcher.call("full_sql", *job) == [(text,)]


def test_jobs_with_values_may_queue_and_time_out(launcher: Session, gate: Gate) -> None:
    use_queue(launcher, 1)
    launcher.launch(gate.sql)
    gate.arrived()
    queued = launch(launcher, "select $1::text", ["it's"])
    launcher.execute("set pg_background.worker_timeout = '150ms'")
    slow = launch(launcher, "select pg_sleep($1)", [600])
    assert (queued.pid, slow.pid) == (0, 0)
    gate.open()
    assert launcher.result(queued) == [("it's",)]
    assert launcher.finished(slow).sqlstate == "57014"


def test_a_worker_runs_one_job_with_values_after_the_other(launcher: Session) -> None:
    for n in range(5):
        assert answer(launcher, "select $1::int4 + 1", [n], "n int4") == [(n + 1,)]
    assert answer(launcher, "select count(*) from pg_prepared_statements", None, "n int8") == [(0,)]
