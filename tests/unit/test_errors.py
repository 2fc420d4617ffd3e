"""Refusals: what users are told, with the SQLSTATE that programs look at."""

from __future__ import annotations

import pytest

from pg_background import errors


def test_a_refusal_keeps_its_fields_and_drops_the_empty_ones() -> None:
    refusal = errors.Refusal("no", "42501", detail="why", hint="", table_name=None)
    assert (str(refusal), refusal.sqlstate, refusal.speaker) == ("no", "42501", "pg_background")
    assert refusal.fields == {"detail": "why"}


def test_a_jobs_own_error_has_another_speaker() -> None:
    assert errors.Refusal("no", "22012", "background worker").speaker == "background worker"


@pytest.mark.parametrize(
    ("refusal", "sqlstate", "message"),
    [
        (errors.unknown_handle(12, 34), "42704", "no job is known by PID 12 and cookie 34"),
        (errors.unknown_handle(None, 0), "42704", "no job is known by PID null and cookie 0"),
        (errors.unknown_handle(0, None), "42704", "no job is known by PID 0 and cookie null"),
        (errors.cookie_mismatch(12), "55000", "cookie mismatch for PID 12"),
        (errors.not_your_job(12), "42501", "permission denied for the job of PID 12"),
        (errors.bad_value("what?"), "22023", "what?"),
    ],
)
def test_each_refusal_has_its_sqlstate(
    refusal: errors.Refusal, sqlstate: str, message: str
) -> None:
    assert (refusal.sqlstate, str(refusal)) == (sqlstate, message)
    assert "None" not in str(refusal)


def test_a_bad_value_has_a_hint_when_there_is_one() -> None:
    assert errors.bad_value("what?").fields == {}
    assert errors.bad_value("what?", "this").fields == {"hint": "this"}
