"""Rows come back as they were: every value, every order, as often as one likes, in any session."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fix_db import Database
from tests.fix_wait import Gate
from tests.integration.session import Session

MEGABYTE = 1024 * 1024


def rows_of(session: Session, text: str, columns: str) -> list[tuple[Any, ...]]:
    """Run a job and return its rows."""
    return session.result(session.launch(text), columns)


def test_null_is_not_an_empty_string(launcher: Session) -> None:
    text = "values (null, ''), ('', null), (null, null), ('', '')"
    assert rows_of(launcher, text, "a text, b text") == [
        (None, ""),
        ("", None),
        (None, None),
        ("", ""),
    ]


def test_a_single_column_of_nulls_and_empty_strings(launcher: Session) -> None:
    assert rows_of(launcher, "values (null), (''), (null), ('x')", "a text") == [
        (None,),
        ("",),
        (None,),
        ("x",),
    ]


def test_columns_of_one_name_are_told_apart_by_position(launcher: Session) -> None:
    text = "select 1 as a, 2 as a, 'x' as b, 'y' as b"
    assert rows_of(launcher, text, "p int4, q int4, r text, s text") == [(1, 2, "x", "y")]


AWKWARD = [
    "it's",
    'say "hi"',
    "back\\slash",
    "two\nlines",
    "carriage\rreturn",
    "tab\t",
    "a,b",
    "(a)",
    "{a}",
    "[1,2)",
    " lead and trail ",
    "NULL",
    "null",
    '""',
    "''",
    "\\N",
    '\\"',
    "$$",
    "%s",
    "Grüße",
    "日本語",
    "🐘",
    "\u00a0",
    "\x01",
    '",(\\{}"',
]


def test_awkward_characters_come_back(launcher: Session) -> None:
    launcher.execute("create table t (n int4, v text)")
    for number, value in enumerate(AWKWARD):
        launcher.execute("insert into t values (%s, %s)", (number, value))
    expected = list(enumerate(AWKWARD))
    assert rows_of(launcher, "select n, v from t order by n", "n int4, v text") == expected


VALUES: dict[str, list[Any]] = {
    "bytea": ["''", r"'\x00ff10'", r"'\x5c22'"],
    "int4[]": ["'{}'", "'{1,null,3}'", "'{{1,2},{3,4}}'", "'[5:6]={1,2}'"],
    "text[]": ["'{}'", """array['', null, 'null', 'a"b', 'c\\d', 'e,f', '{}', 'g h', '''']"""],
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "1.10", "1e100", "0.00000000000000000001"],
    "float8": ["'NaN'", "'-Infinity'", "0.1", "1e-300", "3.141592653589793", "'-0'"],
    "float4": ["0.1", "1e30", "16777217"],
    "date": ["'infinity'", "'0044-03-15 BC'", "'4713-01-01 BC'", "'2000-02-29'", "'5874897-12-31'"],
    "timestamp": ["'-infinity'", "'0001-01-01 00:00:00 BC'", "'2024-02-29 23:59:59.999999'"],
    "timestamptz": ["'2024-07-01 12:00:00+02'", "'1900-01-01 00:00:00+00'", "'infinity'"],
    "time": ["'24:00:00'", "'00:00:00.000001'"],
    "interval": ["'1 mon -2 days 03:04:05.6'", "'-1 year'", "'178000000 years'", "'0'"],
    "json": ["""'{"a" : [1, null, "x\\"y"], "a": 2}'""", "'null'", "'\"\"'"],
    "jsonb": ["""'{"a": {"b": [1, 2.50, "ü"]}}'""", "'null'", "'[]'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "inet": ["'192.168.0.1/24'", "'::1'"],
    "bool": ["true", "false"],
    "int4range": ["'empty'", "'[1,5)'", "'(,)'"],
    "xid8": ["'18446744073709551615'"],
    "bit(3)": ["B'101'"],
    "point": ["'(1.5,-2)'"],
    "tsvector": ["'a:1 ''b c'':2'"],
    '"char"': ["'x'", "''"],
    "name": ["'abc'"],
    "money": ["12.34"],
}


def test_values_of_every_type_come_back_as_they_were(launcher: Session) -> None:
    for kind, values in VALUES.items():
        query = " union all ".join(
            f"select {n}, ({value})::{kind}" for n, value in enumerate([*values, "null"])
        )
        job = launcher.launch(query)
        compared = launcher.rows(
            "select r.n, r.v::text, e.v::text"
            f" from background.pg_background_result(%s, %s) as r(n int4, v {kind})"
            f" full join ({query}) as e(n, v) on r.n = e.n order by 1",
            tuple(job),
        )
        assert len(compared) == len(values) + 1, kind
        assert [got for _, got, _ in compared] == [meant for _, _, meant in compared], kind


def test_the_first_row_is_converted_as_every_other(launcher: Session) -> None:
    text = "values (false, array[1, 2], 'x'), (false, array[1, 2], 'x')"
    rows = rows_of(launcher, text, "a bool, b int4[], c text")
    assert rows == [(False, [1, 2], "x")] * 2


def test_composites_and_arrays_of_composites_come_back(launcher: Session) -> None:
    launcher.execute("create type pair as (a int4, b text)")
    text = (
        "select row(1, 'x,\"y\\')::pair, array[row(null, ''), row(2, null)]::pair[],"
        " row(null, null)::pair, null::pair"
    )
    job = launcher.launch(text)
    assert launcher.rows(
        "select (r.p).a, (r.p).b, r.q[1].a, r.q[1].b, r.q[2].b, r.r::text, r.s is null"
        " from background.pg_background_result(%s, %s) as r(p pair, q pair[], r pair, s pair)",
        tuple(job),
    ) == [(1, 'x,"y\\', None, "", None, "(,)", True)]


def test_values_are_converted_to_the_types_that_the_reader_names(launcher: Session) -> None:
    job = launcher.launch("select 42, '7', 'yes', '{\"a\": 1}', '2024-02-29'")
    columns = "a text, b int8, c bool, d jsonb, e date"
    assert launcher.result(job, columns) == [("42", 7, True, {"a": 1}, dt.date(2024, 2, 29))]
    assert launcher.result(job, "a numeric, b numeric, c text, d text, e text")[0][:2] == (
        Decimal(42),
        Decimal(7),
    )
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        launcher.result(job, "a int4, b int4, c int4, d text, e date")


def test_rows_are_read_again_and_from_another_session(launcher: Session, observer: Session) -> None:
    job = launcher.launch("select n, -n from generate_series(1, 3000) n")
    expected = [(n, -n) for n in range(1, 3001)]
    for session in (launcher, launcher, observer, observer):
        assert session.result(job, "a int4, b int4") == expected


def test_rows_are_read_after_the_launcher_has_left(launcher: Session, observer: Session) -> None:
    job = launcher.launch("select 'kept'")
    launcher.wait(job)
    launcher.close()
    assert observer.result(job) == [("kept",)]


STYLES = [
    ("DateStyle", "German, DMY"),
    ("DateStyle", "SQL, DMY"),
    ("DateStyle", "Postgres, MDY"),
    ("IntervalStyle", "sql_standard"),
    ("IntervalStyle", "iso_8601"),
    ("IntervalStyle", "postgres_verbose"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("TimeZone", "Asia/Kathmandu"),
    ("lc_monetary", "C"),
]
STYLED = (
    "select '2024-02-03'::date, '0044-03-15 BC'::date, '-1 mon 2 days -03:04:05.6'::interval,"
    " '\\x00ff5c'::bytea, 0.1::float8 + 0.2, '2024-02-03 04:05:06.7+00'::timestamptz,"
    " '2024-02-03 04:05:06.7'::timestamp"
)
STYLED_COLUMNS = "a date, b date, c interval, d bytea, e float8, f timestamptz, g timestamp"


@pytest.mark.parametrize("who", ["launcher", "reader", "both"])
def test_styles_of_writing_change_nothing_of_the_values(
    launcher: Session, observer: Session, who: str
) -> None:
    changed = []
    for setting, value in STYLES:
        if who in ("launcher", "both"):
            launcher.execute(f"set {setting} = '{value}'")
        if who in ("reader", "both"):
            observer.execute(f"set {setting} = '{value}'")
        job = launcher.launch(STYLED)
        for session in (observer, launcher):
            same = session.value(
                "select (select r from background.pg_background_result(%s, %s)"
                f" as r({STYLED_COLUMNS})) is not distinct from (select r from ({STYLED})"
                " as r(a, b, c, d, e, f, g))",
                tuple(job),
            )
            if same is not True:
                changed.append((setting, value, session is launcher))
        launcher.execute(f"reset {setting}")
        observer.execute(f"reset {setting}")
    assert changed == []


def test_a_style_set_by_the_job_itself_changes_nothing_of_the_values(launcher: Session) -> None:
    job = launcher.launch(
        "set datestyle = 'German, DMY'; set intervalstyle = 'sql_standard';"
        " set bytea_output = 'escape'; select '2024-02-03'::date, '1 mon -2 days'::interval,"
        " '\\x5c00'::bytea"
    )
    assert launcher.result(job, "a date, b text, c bytea") == [
        (dt.date(2024, 2, 3), "1 mon -2 days", b"\\\0")
    ]


@pytest.mark.parametrize("columns", ["a int4", "a int4, b int4, c int4"])
def test_another_number_of_columns_is_a_mismatch(launcher: Session, columns: str) -> None:
    job = launcher.launch("select 1, 2")
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        launcher.result(job, columns)
    assert launcher.result(job, "a int4, b int4") == [(1, 2)], "it can be read all the same"


def test_a_job_without_rows_gives_its_command_tag_as_one_text_column(launcher: Session) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.launch("insert into t values (1), (2)")
    assert launcher.result(job) == [("INSERT 0 2",)]
    assert launcher.outcome(job).command_tag == "INSERT"
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        launcher.result(job, "a text, b text")
    for text, tag in (
        ("update t set n = n", "UPDATE 2"),
        ("delete from t where n = 1", "DELETE 1"),
        ("create table u ()", "CREATE TABLE"),
        ("set work_mem = '1MB'", "SET"),
        ("select n into v from t", "SELECT 1"),
        ("create table w as table t", "SELECT 1"),
    ):
        assert rows_of(launcher, text, "tag text") == [(tag,)]


def test_a_command_tag_asked_for_as_anything_but_text_is_a_mismatch(launcher: Session) -> None:
    job = launcher.launch("create table t (n int4)")
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        launcher.result(job, "n int4")


def test_returning_rows_and_those_of_a_writing_with_come_back(launcher: Session) -> None:
    launcher.execute("create table t (n int4)")
    text = "insert into t select generate_series(1, 3) returning n, n * n"
    assert rows_of(launcher, text, "a int4, b int4") == [(1, 1), (2, 4), (3, 9)]
    text = "with d as (delete from t returning n) select count(*) from d"
    assert rows_of(launcher, text, "n int8") == [(3,)]
    assert launcher.value("select count(*) from t") == 0


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("explain select 1", "plan text", "Result  (cost=0.00..0.01 rows=1 width=4)"),
        ("show server_version_num", "v text", None),
        ("table t", "n int4", 7),
        ("values (7)", "n int4", 7),
        ("with recursive r as (select 7 as n) select n from r", "n int4", 7),
        ("(select n from t) union all (select 8) order by 1", "n int4", 7),
        ("select n from t for update", "n int4", 7),
        ("prepare p as select 7; execute p", "n int4", 7),
        ("declare c cursor for select 7; fetch c", "n int4", 7),
    ],
)
def test_whatever_returns_rows_is_read(
    launcher: Session, text: str, columns: str, first: Any
) -> None:
    launcher.execute("create table t (n int4)")
    launcher.execute("insert into t values (7)")
    rows = rows_of(launcher, text, columns)
    assert rows
    assert first is None or rows[0][0] == first


def test_a_query_without_rows_gives_none(launcher: Session) -> None:
    job = launcher.launch("select 1 where false")
    assert launcher.result(job, "n int4") == []
    assert launcher.outcome(job).row_count == 0
    assert launcher.outcome(job).command_tag == "SELECT"


def test_rows_without_columns_are_counted(launcher: Session) -> None:
    job = launcher.launch("select from generate_series(1, 3)")
    assert launcher.finished(job).row_count == 3


def test_the_rows_of_a_submitted_job_are_refused_and_its_outcome_is_known(
    launcher: Session,
) -> None:
    launcher.execute("create table t (n int4)")
    job = launcher.submit("insert into t values (1) returning n")
    assert launcher.finished(job).state == "stopped"
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        launcher.result(job, "n int4")
    assert launcher.rows("select n from t") == [(1,)]


def test_rows_can_be_joined_filtered_and_counted_where_they_are_read(launcher: Session) -> None:
    job = launcher.launch("select n, n % 10 from generate_series(1, 10000) n")
    assert launcher.rows(
        "select b, count(*) from background.pg_background_result(%s, %s) as t(a int4, b int4)"
        " where b > 7 group by b order by b",
        tuple(job),
    ) == [(8, 1000), (9, 1000)]
    assert launcher.rows(
        "select a from background.pg_background_result(%s, %s) as t(a int4, b int4) limit 2",
        tuple(job),
    ) == [(1,), (2,)]


def peak_memory(pid: int) -> int:
    """Return the most memory of its own that a process of this machine held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def test_a_million_rows_pass_with_flat_memory_of_the_worker(
    db: Database, launcher: Session, observer: Session, gate: Gate
) -> None:
    if db.server.local is None:
        pytest.skip("the worker's memory can be read on this machine's own servers only")
    small = launcher.launch("select n, n::text from generate_series(1, 10000) n")
    launcher.wait(small)
    observer.until_idle(small.pid)
    before = peak_memory(small.pid)
    # The gate stands behind the last row: the worker holds all it needs when it stops there.
    closed = gate.sql.removeprefix("select ")
    job = launcher.launch(
        "select n, n::text from generate_series(1, 1000000) n"
        f" where n < 1000000 or {closed}::text = ''"
    )
    assert job.pid == small.pid
    gate.arrived(timeout=60)
    grown = peak_memory(job.pid) - before
    gate.open()
    assert launcher.wait(job)
    assert launcher.outcome(job).row_count == 1000000
    assert grown < 24 * MEGABYTE, f"the worker grew by {grown / MEGABYTE:.0f} MB"
    assert launcher.rows(
        "select count(*), sum(a), sum(length(b)), bool_and(a::text = b)"
        " from background.pg_background_result(%s, %s) as t(a int4, b text)",
        tuple(job),
    ) == [(1000000, 500000500000, sum(len(str(n)) for n in range(1, 1000001)), True)]


def test_values_of_fifty_megabytes_come_back(launcher: Session) -> None:
    size = 50 * MEGABYTE
    job = launcher.launch(f"select n, repeat(chr(96 + n), {size}) from generate_series(1, 3) n")
    assert launcher.rows(
        "select n, length(a), a = repeat(chr(96 + n), length(a))"
        " from background.pg_background_result(%s, %s) as t(n int4, a text)",
        tuple(job),
    ) == [(n, size, True) for n in (1, 2, 3)]


def test_a_megabyte_of_nothing_but_quotes_and_backslashes_comes_back(launcher: Session) -> None:
    job = launcher.launch(f"select repeat('\"\\', {MEGABYTE // 2})")
    assert launcher.result(job, "a text") == [('"\\' * (MEGABYTE // 2),)]


def test_many_columns_come_back(launcher: Session) -> None:
    count = 1000
    names = ", ".join(f"c{n} int4" for n in range(count))
    values = ", ".join(str(n) for n in range(count))
    assert rows_of(launcher, f"select {values}", names) == [tuple(range(count))]


def test_json_text_comes_back_to_the_letter(
    launcher: Session, connect: Callable[..., Session]
) -> None:
    document = json.dumps({"quote": '"', "path": "a\\b", "lines": "1\n2", "ü": [1, None]})
    launcher.execute("create table t (d json)")
    launcher.execute("insert into t values (%s)", [document])
    job = launcher.launch("select d from t")
    assert connect().result(job, "d text") == [(document,)]
