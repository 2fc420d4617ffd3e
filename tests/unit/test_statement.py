"""Splitting SQL text into statements, and what may be done with one of them."""

from __future__ import annotations

import random
import time

import pytest

from pg_background.statement import balanced, call_target, classify, split

WHOLE = [
    "select 1",
    "select ';'",
    "select 'it''s; fine'",
    "select 'a\\', b from t where c = ''",
    r"select E'a\';b'",
    r"select e'\\', 'x'",
    r"select E'a''\';b'",
    "select E'a' -- one\n  'b\\';c'",
    "select U&'a;b', U&\"c;d\"",
    "select B'01', X'1F;', N'a;b'",
    'select 1 as ";"',
    'select 1 as "a"";b"',
    "select \"it's\", ';'",
    "select $$a;b'c$$",
    "select $x$ a; $$ ; $y$ $x$",
    "select $grüße_1$;$grüße_1$",
    "select $1, a$b$c, $2",
    "select a$1 from t",
    "select $$a$$$b$;$b$",
    "select 1 -- ; '",
    "select 1 -- ; '\n, 2",
    "select 1 -- ; '\r, 2",
    "select /* ; ' */ 1",
    "select 1 /* a /* b; */ ; */ + 1",
    "select 1 /**/",
    "select (1; 2)",
    "create rule r as on insert to t do (insert into u values (1); select ')')",
    "create rule r as on insert to t do also (select ')' ; select 2)",
    "create function f() returns int begin atomic select 1; select 2; end",
    "CREATE OR REPLACE FUNCTION f() RETURNS int\nBEGIN /* x */ ATOMIC\nSELECT 1;\nEND",
    "create function f() returns int begin atomic select case when a then b end; select 1; end",
    "create function f() returns int begin atomic select 1 as end, t.case; select 2; end",
    "create function f() returns int begin atomic select 'end' as \"end\"; select 2; end",
    "create procedure p() begin atomic insert into t values (';'); end",
    'create function "begin"() returns int begin atomic; end',
    "create function f() returns int language sql as 'select 1; select 2'",
    "create procedure p(begin int) language plpgsql as $$ begin commit; end $$",
    "create table atomic (begin int)",
    "create view v as select begin atomic from t",
    "begin",
    "end",
    "do $do$ begin perform 1; end $do$",
]


@pytest.mark.parametrize("sql", WHOLE)
def test_a_statement_is_not_cut_apart(sql: str) -> None:
    assert split(sql) == [sql]
    assert split(f"{sql}\n; select 2;") == [sql, "select 2"]
    assert split(f"select 0;{sql}") == ["select 0", sql]


@pytest.mark.parametrize("seed", range(200))
def test_statements_put_together_come_apart_again(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    statements = chance.choices(WHOLE, k=chance.randint(1, 12))
    between = ["\n;", "\n; \t", "\n;;\n", "\n; -- it's; \"\n", "\n;/* ; /* $$ */ ' */", "\n;\r\n"]
    text = "".join(sql + chance.choice(between) for sql in statements)
    assert split(text) == statements


@pytest.mark.parametrize("seed", range(200))
def test_no_text_makes_it_fail(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    pieces = [*"'\"$;()-/*\\ \n.eEä", "--", "/*", "*/", "$$", "$x$", "with ", "as ", "do "]
    pieces += ["select ", "create ", "function ", "begin atomic ", "call ", "copy ", "reindex "]
    text = "".join(chance.choices(pieces, k=chance.randint(1, 60)))
    for conforming in (True, False):
        for sql in split(text, conforming):
            assert sql in text
            classify(sql, conforming)
            balanced(sql, conforming)
            call_target(sql)


@pytest.mark.parametrize(
    "text", ["", " \n\t\f", ";", ";;;", " ; ; ", "-- only a comment", "/* a /* b */ ; */", "--x\r;"]
)
def test_a_text_without_statements_gives_none(text: str) -> None:
    assert split(text) == []


def test_leading_comments_and_white_space_are_dropped() -> None:
    assert split("/* a */ -- b\n select 1 -- c\n ; \t-- d\n\rselect 2 ") == [
        "select 1 -- c",
        "select 2",
    ]


def test_no_break_space_is_no_white_space_for_the_server_and_is_kept() -> None:
    assert split("select 1;\xa0;") == ["select 1", "\xa0"]


@pytest.mark.parametrize(
    "rest",
    [
        "select 'a; select 2",
        r"select E'a\'; select 2",
        'select "a; select 2',
        "select $$a; select 2",
        "select $x$a$$; select 2",
        "select 1 /* a /* b */; select 2",
        "/* a; select 2",
        "select (1; select 2",
        "create function f() begin atomic select 1; select 2;",
    ],
)
def test_whatever_is_left_open_reaches_the_server_in_one_piece(rest: str) -> None:
    assert split("select 0;" + rest) == ["select 0", rest]


def test_backslashes_escape_in_plain_literals_only_when_the_session_says_so() -> None:
    text = r"select 'a\'; select '"
    assert split(text) == [r"select 'a\'", "select '"]
    assert split(text, standard_conforming_strings=False) == [text]


def test_bit_strings_never_know_backslashes() -> None:
    assert split("select b'\\'; select x'\\'", standard_conforming_strings=False) == [
        "select b'\\'",
        "select x'\\'",
    ]


def test_a_word_that_ends_in_e_is_no_escape_prefix() -> None:
    assert split("select date'\\'; select 'x'") == ["select date'\\'", "select 'x'"]


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "select (1), ')' from (select '(') t",
        'select "(" -- )',
        "select $$ ) $$ /* ( */",
        "values (1),(2), (3)",
        "((((select 1))))",
    ],
)
def test_balanced_statements(sql: str) -> None:
    assert balanced(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1) t; drop table x",
        "select (1",
        ")(",
        "select '",
        'select "',
        "select $$",
        "/*",
        "(1),)(",
    ],
)
def test_unbalanced_statements(sql: str) -> None:
    assert not balanced(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "select 1 -- why not",
        "(select 1) union all (select 2)",
        "values (1)",
        "table t",
        "with a as (select 1) select * from a",
        "select 'delete', \"insert\" from updates -- merge",
        "select deleted_at from t",
    ],
)
def test_queries_that_only_read_may_be_wrapped(sql: str) -> None:
    assert classify(sql).wrappable


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "insert into t values (1) returning a",
        "with a as (insert into t values (1) returning a) select * from a",
        "with a as (select 1) delete from t returning a",
        "select 1 into t",
        "create table t as select 1",
        "select * from t for update",
        "select 1) t, (select 2",
        "select 'a",
        "select 1; select 2",
        "show work_mem",
        "explain select 1",
        "execute p",
    ],
)
def test_everything_else_may_not_be_wrapped(sql: str) -> None:
    assert not classify(sql).wrappable


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("call p()", "p"),
        ("CALL s.p (1, 'x')", "s.p"),
        ('call "My ( Schema"."p"""(1)', '"My ( Schema"."p"""'),
        ('call"p"()', '"p"'),
        ("/* ( */ call /* x( */ a$b$c -- (\n (1)", "a$b$c"),
        ("call", None),
        ("callous()", None),
        ("select 1", None),
        ('call "open', None),
    ],
)
def test_the_name_in_a_call_is_found(sql: str, name: str | None) -> None:
    assert call_target(sql) == name


SIZE = 1_000_000
LARGE = {
    "a literal": "select '" + "x;" * SIZE + "'",
    "a literal with escapes": "select E'" + "\\';" * SIZE + "'",
    "a dollar quote": "do $$" + "x;" * SIZE + "$$",
    "a comment": "select 1 /*" + "x;" * SIZE + "*/",
    "comments that end in carriage returns": "select 1" + "--\r" * SIZE + ", 2",
    "comments that never end": "/*" * SIZE,
    "dollars": "select " + "$1," * SIZE,
    "parentheses": "(" * SIZE + "select 1" + ")" * SIZE,
    "rows": "with a as (values " + ",".join(["(1,';')"] * (SIZE // 4)) + ") select * from a",
    "keywords": "insert into t select (" + "returning " * (SIZE // 8) + ")",
    "nested WITH": "with a as (select 1) (" * (SIZE // 8),
    "white space": "select" + " " * SIZE + "1",
}


@pytest.mark.parametrize("what", LARGE)
def test_the_time_grows_with_the_text_and_not_faster(what: str) -> None:
    text = LARGE[what]
    start = time.process_time()
    assert split(text) == [text]
    classify(text)
    balanced(text)
    # Anything that takes the square of the length would need hours.
    assert time.process_time() - start < 20
