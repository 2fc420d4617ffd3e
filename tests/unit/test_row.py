"""Composite literals, as PostgreSQL writes them."""

from __future__ import annotations

import random

import pytest

from pg_background.row import parse

# What record::text gave on a server, and the columns that went in.
WRITTEN: list[tuple[str, list[str | None]]] = [
    ("(1)", ["1"]),
    ("(1,2)", ["1", "2"]),
    ("(,)", [None, None]),
    ("()", [None]),
    ('("")', [""]),
    ('("",)', ["", None]),
    ('(,"")', [None, ""]),
    ('("a b")', ["a b"]),
    ('("a,b",c)', ["a,b", "c"]),
    ('("a""b")', ['a"b']),
    ('("""")', ['"']),
    ('("""""")', ['""']),
    ('("a\\\\b")', ["a\\b"]),
    ('("\\\\")', ["\\"]),
    ('("\\\\""")', ['\\"']),
    ('("(1,""x y"")",2)', ['(1,"x y")', "2"]),
    ('("{1,NULL,3}","{""a b"",c}")', ["{1,NULL,3}", '{"a b",c}']),
    ('("line\nbreak",größe,🐘)', ["line\nbreak", "größe", "🐘"]),
    ("(t,f,NULL)", ["t", "f", "NULL"]),
    ('(a,"b c",,"",d)', ["a", "b c", None, "", "d"]),
]


@pytest.mark.parametrize(("literal", "columns"), WRITTEN)
def test_a_literal_is_read_back(literal: str, columns: list[str | None]) -> None:
    assert parse(literal) == columns


def test_backslashes_before_any_character_are_escapes() -> None:
    assert parse(r'("a\"b\,c")') == ['a"b,c']


def written(columns: list[str | None]) -> str:
    """Write a literal by the rules of the server's record_out."""

    def column(value: str | None) -> str:
        if value is None:
            return ""
        if value == "" or any(each in '"\\(), \t\n\r\v\f' for each in value):
            return '"' + value.replace("\\", "\\\\").replace('"', '""') + '"'
        return value

    return "(" + ",".join(map(column, columns)) + ")"


def test_whatever_is_written_is_read_back() -> None:
    chance = random.Random(20260101)  # noqa: S311
    letters = 'ab"\\,() \n{}é'
    for _ in range(5000):
        columns = [
            None
            if chance.random() < 0.2
            else "".join(chance.choice(letters) for _ in range(chance.randrange(6)))
            for _ in range(chance.randrange(1, 6))
        ]
        assert parse(written(columns)) == columns
