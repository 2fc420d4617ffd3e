"""Rows as JSON: one object a row, typed as far as its types are known, without a column list."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.fix_db import Roles
from tests.integration.session import Handle, Session


def texts(session: Session, job: Handle) -> list[str]:
    """Read the rows as the text of JSON, where every digit shows."""
    return [
        row[0]
        for row in session.rows(
            "select r::text from background.pg_background_result_json(%s, %s) r", tuple(job)
        )
    ]


def objects(session: Session, statement: str) -> list[Any]:
    """Run a job and read its rows."""
    return [json.loads(text) for text in texts(session, session.launch(statement))]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1::int2", "1"),
        ("-42", "-42"),
        ("9223372036854775807", "9223372036854775807"),
        ("1.50", "1.50"),
        ("0.1::float8", "0.1"),
        ("1e300::float8", "1" + "0" * 300),
        ("'NaN'::float8", '"NaN"'),
        ("'-Infinity'::numeric", '"-Infinity"'),
        ("true", "true"),
        ("false", "false"),
        ("null::int4", "null"),
        ("'text'", '"text"'),
        ("''", '""'),
        ("'42'", '"42"'),
        ("'null'", '"null"'),
        ("'true'", '"true"'),
        ("'{\"a\": 1}'::text", '"{\\"a\\": 1}"'),
        ("E'a \"quoted\", \\\\ and\\nbroken text'", '"a \\"quoted\\", \\\\ and\\nbroken text"'),
        ("date '2026-02-01'", '"2026-02-01"'),
        ("interval '1 day'", '"1 day"'),
        ("'\\x00ff'::bytea", '"\\\\x00ff"'),
        ("int4range(1, 5)", '"[1,5)"'),
        ("row(1, 'a b')", '"(1,\\"a b\\")"'),
        ("'{\"a\": [1, null]}'::json", '{"a": [1, null]}'),
        ("'[]'::jsonb", "[]"),
        ("'{}'::jsonb", "{}"),
        ("'\"a string\"'::jsonb", '"a string"'),
        ("'null'::jsonb", "null"),
        ("'true'::json", "true"),
        ("array[1, null, 3]", "[1, null, 3]"),
        ("array[[1, 2], [3, 4]]", "[[1, 2], [3, 4]]"),
        ("'[0:1]={7,8}'::int4[]", "[7, 8]"),
        ("'{}'::int4[]", "[]"),
        ("array[true, false]", "[true, false]"),
        (
            "array['a,b', 'c\"d', 'e\\f', 'NULL', null, '', 'g;h']",
            '["a,b", "c\\"d", "e\\\\f", "NULL", null, "", "g;h"]',
        ),
        ("array[date '2026-02-01']", '["2026-02-01"]'),
        ("array['{\"a\": 1}'::jsonb]", '[{"a": 1}]'),
        ("array[box '(1,1),(0,0)', box '(3,3),(2,2)']", '"{(1,1),(0,0);(3,3),(2,2)}"'),
    ],
)
def test_a_value_is_json_of_its_own_kind(launcher: Session, expression: str, expected: str) -> None:
    assert texts(launcher, launcher.launch(f"select {expression} as v")) == [f'{{"v": {expected}}}']


@pytest.mark.parametrize("last", ["'1'", "'null'", "'\"text\"'", "'[2]'", "'{}'", "'true'", "null"])
def test_json_is_json_whatever_the_last_row_holds(launcher: Session, last: str) -> None:
    values = [{"a": 1}, [1], "text", 5, True, None]
    written = ", ".join(f"('{json.dumps(value)}'::jsonb)" for value in values)
    rows = objects(launcher, f"select v from (values {written}, ({last})) t (v)")
    assert [row["v"] for row in rows[:-1]] == values


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("int4", "7", 7),
        ("numeric", "7.5", 7.5),
        ("bool", "true", True),
        ("text", "'7'", "7"),
        ("date", "'2026-02-01'", "2026-02-01"),
        ("int4[]", "'{7}'", [7]),
        ("bool[]", "'{t}'", [True]),
        ("text[]", "'{7}'", ["7"]),
        ("date[]", "'{2026-02-01}'", ["2026-02-01"]),
        ("jsonb[]", "array['7'::jsonb]", [7]),
    ],
)
def test_a_column_has_one_kind_though_its_last_value_is_null(
    launcher: Session, type_: str, value: str, expected: object
) -> None:
    rows = objects(launcher, f"values ({value}::{type_}), (null)")
    assert rows == [{"column1": expected}, {"column1": None}]


def test_json_that_jsonb_cannot_hold_is_given_as_text(launcher: Session) -> None:
    rows = objects(launcher, "select json '\"\\u0000\"' as v")
    assert rows == [{"v": '"\\u0000"'}]


def test_columns_of_the_same_name_become_an_array(launcher: Session) -> None:
    rows = objects(launcher, "select 1 as a, 2 as b, null as a, 'x' as \"A\", true as a")
    assert rows == [{"a": [1, None, True], "b": 2, "A": "x"}]


def test_rows_come_in_order_through_many_chunks(launcher: Session) -> None:
    job = launcher.launch("select i, repeat('x', 50) as t from generate_series(1, 20000) i")
    assert [json.loads(text)["i"] for text in texts(launcher, job)] == list(range(1, 20001))


def test_a_job_without_rows_gives_none(launcher: Session) -> None:
    assert objects(launcher, "create table u (a int4)") == []
    assert objects(launcher, "select 1 where false") == []


def test_rows_without_columns_are_empty_objects(launcher: Session) -> None:
    assert objects(launcher, "select from generate_series(1, 2)") == [{}, {}]


def test_what_a_call_returns_is_an_object_too(launcher: Session) -> None:
    launcher.execute(
        "create procedure p(inout a int4, inout b text) language plpgsql"
        " as 'begin commit; a := 7; end'"
    )
    assert objects(launcher, "call p(1, 'x')") == [{"column1": "7", "column2": "x"}]


def test_a_failed_job_raises_its_own_error(launcher: Session) -> None:
    job = launcher.launch("select 1/0")
    with pytest.raises(psycopg.errors.DivisionByZero, match="background worker: division by zero"):
        texts(launcher, job)


def test_rows_of_a_submitted_job_are_refused(launcher: Session) -> None:
    job = launcher.submit("select 1")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        texts(launcher, job)


def test_an_unknown_handle_is_refused(launcher: Session) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject):
        texts(launcher, Handle(1, 1))


def test_rows_of_another_role_are_refused(
    launcher: Session, roles: Roles, connect: Callable[..., Session]
) -> None:
    job = launcher.launch("select 1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        texts(connect(roles.create("other")), job)


def test_a_transaction_with_an_old_snapshot_reads_them_too(launcher: Session) -> None:
    launcher.execute("begin isolation level repeatable read")
    launcher.rows("select 1")
    assert objects(launcher, "select 1 as a, true as b") == [{"a": 1, "b": True}]
    launcher.execute("commit")


def test_the_owners_types_do_nothing_with_the_readers_rights(
    launcher: Session, admin: Session, app: str
) -> None:
    """A domain's check would tell who has evaluated it."""
    launcher.execute("create table evaluated (by text)")
    launcher.execute("grant all on evaluated to public")
    launcher.execute(
        "create function tell(int4) returns bool language plpgsql as"
        " $f$ begin insert into evaluated values (current_user); return true; end $f$"
    )
    launcher.execute("create domain told as int4 check (tell(value))")
    job = launcher.launch("select 7::told as v, null::told as n")
    launcher.wait(job)
    assert texts(admin, job) == ['{"n": null, "v": 7}']
    assert set(launcher.rows("select by from evaluated")) == {(app,)}


@pytest.mark.parametrize("awkward", ["2::small", "'\"\\u0000 \\ud800\"'::json", "null::int4[]"])
def test_a_row_of_megabytes_has_the_columns_of_a_small_one(launcher: Session, awkward: str) -> None:
    launcher.execute("create domain small as int4 not null check (value < 10)")

    def row(size: int) -> Any:
        found = objects(
            launcher,
            "select 1 as n, 1.50 as x, true as b, '{1,null}'::int4[] as a, '{t}'::bool[] as f,"
            f""" '"a"'::jsonb as j, null::int8 as z, row(1, 'q') as r, '{{c,d}}'::text[] as t,"""
            f" {awkward} as k, date '2026-02-01' as d, repeat('\"x', {size}) as n",
        )
        number, text = found[0].pop("n")
        assert (number, text) == (1, '"x' * size)
        return found

    assert row(4_000_000) == row(2)
