"""Texts of several statements: taken apart as psql would, run in order, refused where they must be."""

from __future__ import annotations

import psycopg
import pytest

from tests.integration.session import Session


@pytest.fixture(autouse=True)
def table(launcher: Session) -> None:
    """Make the table that the jobs write to."""
    launcher.execute("create table t (v text)")


def written(launcher: Session, text: str) -> list[str]:
    """Run a job that must go well, and return what it wrote."""
    outcome = launcher.finished(launcher.launch(text))
    assert (outcome.state, outcome.error_message) == ("stopped", None)
    return [row[0] for row in launcher.rows("select v from t order by ctid")]


QUOTED = [
    ("';'", ";"),
    ("'it''s; it'", "it's; it"),
    ("'a\\'", "a\\"),
    ("E'a\\';\\'b'", "a';'b"),
    ("e'\\\\'", "\\"),
    ("E'\\\\'';'", "\\';"),
    ("U&'\\0061;'", "a;"),
    ("$$;$$", ";"),
    ('$$it\'s; "it"$$', 'it\'s; "it"'),
    ("$tag$ $$;$$ $tag$", " $$;$$ "),
    ("$Täg$;$Täg$", ";"),
    ("$a$ $b$ ; $b$ $a$", " $b$ ; $b$ "),
    ("$_1$;$_1$", ";"),
    ("'-- no comment; '", "-- no comment; "),
    ("'/* no comment; */'", "/* no comment; */"),
    ("'a' /* ; ' */ || ';b'", "a;b"),
    ("'a' -- ; '\n || ';b'", "a;b"),
    ("'a' /* ; /* nested ; */ ' */ || ';b'", "a;b"),
    ("'a'\n ';b'", "a;b"),
    ("('a' || ';' || ('b'))", "a;b"),
    ('(select \';\' as "a;""b")', ";"),
    ("';' || (select 1::text as a$b$)", ";1"),
    ("convert_from('\\x3b'::bytea, 'UTF8')", ";"),
    ("(array['a;', 'b'])[1]", "a;"),
    ("N'n;'", "n;"),
    ("(B'101')::text", "101"),
    ("'💥;'", "💥;"),
    ("'%s; {0} $1'", "%s; {0} $1"),
]


@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "middle", "last"])
def test_every_way_of_quoting_is_understood(launcher: Session, position: int) -> None:
    misread = {}
    for quoted, meaning in QUOTED:
        texts = ["insert into t values ('one')", "insert into t values ('two')"]
        texts.insert(position, f"insert into t values ({quoted})")
        expected = ["one", "two"]
        expected.insert(position, meaning)
        found = written(launcher, ";\n".join(texts) + ";")
        if found != expected:
            misread[quoted] = found
        launcher.execute("truncate t")
    assert misread == {}


def test_backslashes_quote_where_the_launcher_says_so(launcher: Session) -> None:
    launcher.execute("set standard_conforming_strings = off")
    launcher.execute("set escape_string_warning = off")
    text = r"insert into t values ('a\';b'); insert into t values ('c')"
    assert written(launcher, text) == ["a';b", "c"]


def test_a_later_statement_uses_what_an_earlier_one_made(launcher: Session) -> None:
    text = (
        "create table made (n int4); insert into made values (1), (2);"
        " create index on made (n); insert into t select n::text from made; drop table made"
    )
    assert written(launcher, text) == ["1", "2"]


def test_bodies_of_functions_are_left_in_one_piece(launcher: Session) -> None:
    text = """
        create function f() returns text language plpgsql as $$
        begin perform 1; return 'f;'; end; $$;
        create procedure p() begin atomic
            insert into t values ('p;'); insert into t select case when true then 'q;' end; end;
        create function g() returns text return 'g;';
        insert into t values (f()), (g());
        create rule r as on delete to t do also (select 1; select 2)"""
    assert written(launcher, text) == ["f;", "g;"]
    launcher.execute("call p()")
    assert launcher.value("select count(*) from t") == 4


def test_comments_and_empty_statements_around_are_no_statements(launcher: Session) -> None:
    text = ";; -- first\n ; insert into t values ('a') ; /* last; */ ; -- end;"
    job = launcher.launch(text)
    outcome = launcher.finished(job)
    assert (outcome.state, outcome.command_tag, outcome.row_count) == ("stopped", "INSERT", 1)


def test_only_the_rows_of_the_last_statement_are_kept(launcher: Session) -> None:
    job = launcher.launch("select 1, 2; select 'last' where true; ;")
    assert launcher.result(job) == [("last",)]
    job = launcher.launch("select 1; insert into t values ('x')")
    assert launcher.result(job) == [("INSERT 0 1",)]


def test_a_thousand_statements_run_in_order(launcher: Session) -> None:
    text = ";".join(f"insert into t values ('{n}')" for n in range(1000))
    assert written(launcher, text) == [str(n) for n in range(1000)]


def test_a_text_of_a_megabyte_runs_and_is_told_in_full(launcher: Session) -> None:
    value = "x;'' " * 200000
    job = launcher.launch(f"insert into t values ('{value}'); select 1")
    assert launcher.finished(job).state == "stopped"
    assert launcher.value("select v from t") == value.replace("''", "'")
    assert launcher.value(
        "select length(background.pg_background_full_sql(%s, %s))", tuple(job)
    ) == len(f"insert into t values ('{value}'); select 1")


@pytest.mark.parametrize(
    "text", ["select 'a", 'select "a', "select $$a", "select /* a", "select (1"]
)
def test_what_is_left_open_is_a_syntax_error_of_the_server_s(launcher: Session, text: str) -> None:
    job = launcher.launch(f"insert into t values ('x'); {text}; select 1")
    assert launcher.finished(job).sqlstate == "42601"
    assert launcher.rows("select v from t") == []


REFUSED = [
    "begin",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "start transaction",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint s",
    "rollback to savepoint s",
    "release s",
    "prepare transaction 'x'",
    "/* hidden */ commit",
    "-- hidden\ncommit and chain",
    "copy t to stdout",
    "copy t from stdin",
    "copy (select 1) to stdout with (format csv)",
]


@pytest.mark.parametrize("others", [False, True], ids=["alone", "among others"])
def test_transaction_control_and_client_copy_are_refused_and_nothing_stays(
    launcher: Session, others: bool
) -> None:
    for refused in REFUSED:
        text = refused
        if others:
            text = f"insert into t values ('a'); {refused}; insert into t values ('b')"
        job = launcher.launch(text)
        outcome = launcher.finished(job)
        assert (outcome.state, outcome.sqlstate, refused) == ("error", "0A000", refused)
        assert launcher.rows("select v from t") == [], refused
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            launcher.result(job)
    assert launcher.finished(launcher.launch("select 1")).state == "stopped"


def test_words_of_transaction_control_elsewhere_are_no_control(launcher: Session) -> None:
    text = (
        "insert into t values ('begin; commit'); insert into t select 'x' as \"commit\";"
        " do $$ begin insert into t values ('in a block'); end $$; select 1 as begin"
    )
    assert written(launcher, text) == ["begin; commit", "x", "in a block"]


def test_copy_on_the_server_is_no_client_copy(admin: Session) -> None:
    admin.execute("create table u (v text)")
    job = admin.launch(
        "copy u from program 'echo hello'; copy (select v from u) to program 'cat > /dev/null'"
    )
    outcome = admin.finished(job)
    assert (outcome.state, outcome.error_message) == ("stopped", None)
    assert admin.rows("select v from u") == [("hello",)]


def test_the_job_s_sql_is_shown_by_its_backend_and_cannot_end_the_comment_around_it(
    launcher: Session,
) -> None:
    text = "insert into t values ('*/ select 1/0 /*')"
    assert written(launcher, text) == ["*/ select 1/0 /*"]


def test_a_cursor_is_fetched_from_and_one_that_is_not_there_is_named(launcher: Session) -> None:
    job = launcher.launch("declare c cursor for select generate_series(1, 3); fetch 2 in c")
    assert launcher.result(job, "n int4") == [(1,), (2,)]
    outcome = launcher.finished(launcher.launch("fetch all in nothing"))
    assert (outcome.sqlstate, outcome.error_message) == ("34000", 'cursor "nothing" does not exist')
