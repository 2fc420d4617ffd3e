"""The server's serialized list of settings."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.unit.conftest import FakeDb

DEFAULT, DATABASE_USER, CLIENT, SESSION = 0, 8, 9, 13


@pytest.fixture
def guc(load: Callable[[str], ModuleType]) -> Any:
    """Give the module, over a seam without a server."""
    return load("guc")


def record(name: str, value: str, source: int, file: str = "", codec: str = "utf-8") -> bytes:
    """A setting as SerializeGUCState writes it."""
    text = b"".join(each.encode(codec) + b"\0" for each in (name, value, file))
    line = struct.pack("<i", 7) if file else b""
    return text + line + struct.pack("<3i", source, 5, 10)


def listing(*records: bytes) -> bytes:
    """A whole list: its length first, and what is left of the buffer behind it."""
    body = b"".join(records)
    return struct.pack("<q", len(body)) + body + b"\xff" * 40


def test_own_settings_are_found_among_all_others(guc: Any) -> None:
    raw = listing(
        record("max_connections", "100", 3, file="/etc/postgresql.conf"),
        record("app.tenant", "blue", SESSION),
        record("search_path", "", SESSION),
        record("timezone", "UTC", DATABASE_USER),
        record("DateStyle", "ISO, MDY", CLIENT),
        record("x", "last", SESSION, file="odd"),
    )
    assert guc.parse(raw, "utf-8") == [
        ("app.tenant", "blue", 10),
        ("search_path", "", 10),
        ("DateStyle", "ISO, MDY", 10),
        ("x", "last", 10),
    ]


@pytest.mark.parametrize("source", [DEFAULT, 3, DATABASE_USER])
def test_what_a_worker_logs_in_without_is_told_whoever_set_it(guc: Any, source: int) -> None:
    names = [*guc.WHOEVER_SET_THEM, "work_mem"]
    raw = listing(*(record(name, "x", source, file="f") for name in names))
    found = [name for name, *_ in guc.parse(raw, "utf-8")]
    assert found == list(guc.WHOEVER_SET_THEM)


def test_an_empty_list_has_no_settings(guc: Any) -> None:
    assert guc.parse(listing(), "utf-8") == []


def test_binary_words_that_look_like_text_do_not_confuse(guc: Any) -> None:
    one = b"a.b\0v\0\0" + struct.pack("<3i", SESSION, 0x41424344, 0x00424100)
    assert guc.parse(listing(one, one), "utf-8") == [("a.b", "v", 0x00424100)] * 2


def test_values_are_read_in_the_databases_encoding(guc: Any) -> None:
    raw = listing(record("a.b", "größe", SESSION, codec="latin-1"))
    assert guc.parse(raw, "iso8859-1") == [("a.b", "größe", 10)]
    assert guc.parse(raw, "utf-8")[0][1].startswith("gr")


@pytest.mark.parametrize(
    ("encoding", "same"),
    [("UTF8", "größe"), ("LATIN1", "größe"), ("WIN1252", "größe"), ("LATIN9", "€"), ("SQL_ASCII", "a"),
     ("EUC_JP", "日本"), ("WIN1251", "мир"), ("KOI8R", "мир"), ("ISO_8859_5", "мир")],
)  # fmt: skip
def test_pythons_names_of_the_servers_encodings(guc: Any, encoding: str, same: str) -> None:
    codec = guc._codec(encoding)
    assert same.encode(codec).decode(codec) == same


@pytest.mark.parametrize(
    "encoding",
    [
        "BIG5", "EUC_CN", "EUC_JIS_2004", "EUC_JP", "EUC_KR", "EUC_TW", "GB18030", "GBK", "ISO_8859_6",
        "ISO_8859_7", "ISO_8859_8", "JOHAB", "KOI8U", "LATIN2", "LATIN3", "LATIN4", "LATIN5", "LATIN6",
        "LATIN7", "LATIN8", "LATIN10", "MULE_INTERNAL", "SJIS", "SHIFT_JIS_2004", "UHC", "WIN866",
        "WIN874", "WIN1250", "WIN1253", "WIN1254", "WIN1255", "WIN1256", "WIN1257", "WIN1258",
    ],
)  # fmt: skip
def test_no_encoding_of_a_server_keeps_jobs_from_being_launched(guc: Any, encoding: str) -> None:
    raw = listing(record("a.b", "ascii", SESSION))
    assert guc.parse(raw, guc._codec(encoding)) == [("a.b", "ascii", 10)]


def test_own_reads_the_list_by_the_servers_encoding(
    guc: Any, fake_db: FakeDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_db.questions = {"getdatabaseencoding": lambda: [{"encoding": "LATIN1"}]}
    raw = listing(record("a.b", "größe", SESSION, codec="latin-1"), record("c.d", "2", SESSION))
    monkeypatch.setattr(guc, "_link_serializer", lambda: lambda: raw)
    assert guc.available()
    assert guc.own() == [("a.b", "größe", 10), ("c.d", "2", 10)]


def test_where_the_list_cannot_be_had_it_is_empty(
    guc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guc, "_link_serializer", lambda: None)
    assert guc.available() is False
    assert guc.own() == []


def test_outside_of_a_server_there_is_no_list(guc: Any) -> None:
    assert guc._link_serializer() is None
