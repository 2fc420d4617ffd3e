"""Messages of top-level jobs, as libpq prints them."""

from __future__ import annotations

import contextlib
import os
import sys
import time

import pytest

from pg_background import message

VACUUM = """INFO:  vacuuming "postgres.public.t"
INFO:  finished vacuuming "postgres.public.t": index scans: 0
pages: 0 removed, 1 remain
tuples: 0 removed, 2 remain
WARNING:  something is odd
DETAIL:  It is this.
And that: really.
HINT:  Do not worry.
NOTICE:  last
"""


def told(severity: str, text: str, detail: str | None = None, hint: str | None = None) -> object:
    """A message as parse() gives it."""
    return {"severity": severity, "message": text, "detail": detail, "hint": hint}


def test_messages_keep_their_order_their_lines_and_their_fields() -> None:
    assert message.parse(VACUUM) == [
        told("INFO", 'vacuuming "postgres.public.t"'),
        told(
            "INFO",
            'finished vacuuming "postgres.public.t": index scans: 0\n'
            "pages: 0 removed, 1 remain\ntuples: 0 removed, 2 remain",
        ),
        told("WARNING", "something is odd", "It is this.\nAnd that: really.", "Do not worry."),
        told("NOTICE", "last"),
    ]


@pytest.mark.parametrize("text", ["", "\n", "no message at all\n", "DETAIL:  of nothing\n"])
def test_what_is_no_message_is_left_out(text: str) -> None:
    assert message.parse(text) == []


def test_context_and_position_are_left_out_with_all_their_lines() -> None:
    text = (
        "NOTICE:  hello\nCONTEXT:  PL/pgSQL function p() line 1\nSQL statement\n"
        "LOCATION:  x.c:1\nNOTICE:  again\nSTATEMENT:  call p()\n"
    )
    assert message.parse(text) == [told("NOTICE", "hello"), told("NOTICE", "again")]


def test_empty_lines_within_a_message_stay_and_those_behind_it_go() -> None:
    assert message.parse("NOTICE:  a\n\nb\n\n\n") == [told("NOTICE", "a\n\nb")]


def test_a_word_with_one_space_is_no_field() -> None:
    assert message.parse("NOTICE:  a\nHINT: b\n") == [told("NOTICE", "a\nHINT: b")]


def test_what_is_printed_while_watching_is_kept_and_the_descriptor_comes_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    kept = message.Kept()
    assert kept.watching(lambda: os.write(2, "NOTICE:  größe\n".encode())) == 17
    os.write(2, b"to the log\n")
    kept.watching(lambda: os.write(2, b"NOTICE:  two\n"))
    sys.stderr.flush()
    assert kept.text() == "NOTICE:  größe\nNOTICE:  two\n"
    assert capfd.readouterr().err == "to the log\n"


def test_the_descriptor_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    kept = message.Kept()
    with pytest.raises(ZeroDivisionError):
        kept.watching(lambda: 1 // 0)
    os.write(2, b"seen\n")
    assert kept.text() == ""
    assert capfd.readouterr().err == "seen\n"


def test_half_a_character_does_not_hide_the_rest() -> None:
    kept = message.Kept()
    kept.watching(lambda: os.write(2, b"NOTICE:  \xc3\nNOTICE:  ok\n"))
    assert [each["message"] for each in message.parse(kept.text())] == ["\ufffd", "ok"]


def texts_at_the_cap() -> dict[str, str]:
    size = message.MOST_BYTES
    return {
        "line breaks": "NOTICE:  " + "\n" * size,
        "colons": "NOTICE:  " + ":  " * (size // 3),
        "details of nothing": "DETAIL:  \n" * (size // 10),
        "details of one message": "NOTICE:  \n" + "DETAIL:  \n" * (size // 10),
        "messages": "NOTICE:  \nHINT:  \n" * (size // 18),
        "fields that are left out": "NOTICE:  \n" + "CONTEXT:  \n" * (size // 11),
    }


@pytest.mark.parametrize("name", texts_at_the_cap())
def test_as_much_text_as_is_kept_is_read_in_no_time_whatever_it_is(name: str) -> None:
    text = texts_at_the_cap()[name]
    began = time.monotonic()
    assert len(message.parse(text)) <= message.MOST_MESSAGES
    assert time.monotonic() - began < 5


def test_more_messages_than_are_kept_are_left_out_and_the_first_ones_are_whole() -> None:
    found = message.parse("".join(f"NOTICE:  {n}\nHINT:  of {n}\n" for n in range(20_000)))
    assert found == [told("NOTICE", str(n), hint=f"of {n}") for n in range(message.MOST_MESSAGES)]


def test_what_is_printed_beyond_the_most_that_is_kept_takes_no_memory() -> None:
    kept = message.Kept()
    piece = b"x" * (1 << 20)

    def printed() -> None:
        with contextlib.suppress(PermissionError):
            for _ in range(100):
                os.write(2, piece)

    for _ in range(3):
        kept.watching(printed)
        assert kept.spoke
    assert os.fstat(kept._memory).st_blocks * 512 <= message.MOST_BYTES + message.SPARE_BYTES
    assert len(kept.text()) == message.MOST_BYTES


def test_watching_tells_whether_anything_was_printed() -> None:
    kept = message.Kept()
    kept.watching(lambda: os.write(2, b"NOTICE:  a\n"))
    assert kept.spoke
    kept.watching(lambda: None)
    assert not kept.spoke
    assert kept.text() == "NOTICE:  a\n"
