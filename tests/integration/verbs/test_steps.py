"""How many SQL statements a warm session runs for a verb: each of them costs, so none is added unnoticed."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.errors import Diagnostic

from tests.integration.session import Session

# What there is without a single one more; the call itself is one of them.
STEPS = {
    "launch": 3,
    "wait": 3,
    "outcome": 4,
    "result": 17,
    "detach": 4,
    "run": 10,
    "execute": 10,
}
CALLS = {
    "wait": "select background.pg_background_wait({0.pid}, {0.cookie})",
    "outcome": "select background.pg_background_outcome({0.pid}, {0.cookie})",
    "result": "select * from background.pg_background_result({0.pid}, {0.cookie}) as (n int4)",
    "detach": "select background.pg_background_detach({0.pid}, {0.cookie})",
    "run": "select background.pg_background_run('select 1')",
    "execute": "select background.pg_background_execute('select 1')",
}


@pytest.fixture
def counting(admin: Session) -> Session:
    """A session of a superuser's that is told of each statement, nested ones included."""
    try:
        admin.execute("load 'auto_explain'")
    except psycopg.errors.UndefinedFile:
        pytest.skip("this server has no auto_explain")
    admin.execute(
        "set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on"
    )
    return admin


def counted(session: Session, call: str) -> int:
    """Run a call and count its statements."""
    texts: list[str] = []

    def note(message: Diagnostic) -> None:
        words = message.message_primary or ""
        if "Query Text" in words:
            texts.append(words)

    session.connection.add_notice_handler(note)
    session.execute("set client_min_messages = log")
    texts.clear()
    session.execute(call)
    session.connection.remove_notice_handler(note)
    session.execute("set client_min_messages = error")
    return len(texts)


def test_no_verb_takes_more_statements_than_it_has_to(counting: Session) -> None:
    for _ in range(2):
        job = counting.launch("select 1")
        for call in CALLS.values():
            counting.execute(call.format(job))
    found = {"launch": counted(counting, "select background.pg_background_launch('select 1')")}
    job = counting.launch("select 1")
    counting.wait(job)
    found |= {verb: counted(counting, call.format(job)) for verb, call in CALLS.items()}
    assert {verb: steps for verb, steps in found.items() if steps > STEPS[verb]} == {}
