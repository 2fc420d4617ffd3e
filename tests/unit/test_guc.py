"""The server's serialized list of settings."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

DEFAULT, DATABASE_USER, CLIENT, SESSION = 0, 8, 9, 13


@pytest.fixture
def guc(load: Callable[[str], ModuleType]) -> Any:
    """Give the module, over a seam without a server."""
    return load("guc")


def record(
    name: str, value: str, source: int, trailer: int, file: str = "", codec: str = "utf-8"
) -> bytes:
    """A setting as SerializeGUCState writes it."""
    text = b"".join(each.encode(codec) + b"\0" for each in (name, value, file))
    line = struct.pack("<i", 7) if file else b""
    words = (source, 5) if trailer == 8 else (source, 5, 10)
    return text + line + struct.pack(f"<{len(words)}i", *words)


def listing(*records: bytes) -> bytes:
    """A whole list: its length first, and what is left of the buffer behind it."""
    body = b"".join(records)
    return struct.pack("<q", len(body)) + body + b"\xff" * 40


@pytest.mark.parametrize("trailer", [8, 12])
def test_own_settings_are_found_among_all_others(guc: Any, trailer: int) -> None:
    raw = listing(
        record("max_connections", "100", 3, trailer, file="/etc/postgresql.conf"),
        record("app.tenant", "blue", SESSION, trailer),
        record("search_path", "", SESSION, trailer),
        record("timezone", "UTC", DATABASE_USER, trailer),
        record("DateStyle", "ISO, MDY", CLIENT, trailer),
        record("x", "last", SESSION, trailer, file="odd"),
    )
    assert guc.parse(raw, trailer, "utf-8") == [
        ("app.tenant", "blue"),
        ("search_path", ""),
        ("DateStyle", "ISO, MDY"),
        ("x", "last"),
    ]


def test_an_empty_list_has_no_settings(guc: Any) -> None:
    assert guc.parse(listing(), 12, "utf-8") == []


def test_binary_words_that_look_like_text_do_not_confuse(guc: Any) -> None:
    one = b"a.b\0v\0\0" + struct.pack("<3i", SESSION, 0x41424344, 0x00424100)
    assert guc.parse(listing(one, one), 12, "utf-8") == [("a.b", "v"), ("a.b", "v")]


def test_values_are_read_in_the_databases_encoding(guc: Any) -> None:
    raw = listing(record("a.b", "größe", SESSION, 12, codec="latin-1"))
    assert guc.parse(raw, 12, "iso8859-1") == [("a.b", "größe")]
    assert guc.parse(raw, 12, "utf-8")[0][1].startswith("gr")


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
    raw = listing(record("a.b", "ascii", SESSION, 12))
    assert guc.parse(raw, 12, guc._codec(encoding)) == [("a.b", "ascii")]


def test_own_reads_the_list_by_the_servers_version_and_encoding(
    guc: Any, fake_db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, trailer in ((140000, 8), (150000, 12), (180000, 12)):
        fake_db.memory.clear()
        fake_db.server_facts = lambda version=version: {"version": version, "encoding": "UTF8"}
        raw = listing(record("a.b", "1", SESSION, trailer), record("c.d", "2", SESSION, trailer))
        monkeypatch.setattr(guc, "_link_serializer", lambda raw=raw: lambda: raw)
        assert guc.available()
        assert guc.own() == [("a.b", "1"), ("c.d", "2")]


def test_where_the_list_cannot_be_had_it_is_empty(
    guc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guc, "_link_serializer", lambda: None)
    assert guc.available() is False
    assert guc.own() == []


def test_outside_of_a_server_there_is_no_list(guc: Any) -> None:
    assert guc._link_serializer() is None
