"""A job that talks without end is kept within bounds, and its worker heeds whoever ends it."""

from __future__ import annotations

import time

from tests.fix_wait import eventually
from tests.integration.session import Handle, Session, elapsed_ms

LINE_BREAKS = 1_500_000
MOST_MESSAGES = 10_000
MOST_BYTES = 16 * 1024 * 1024


def speaking(statement: str) -> str:
    """A job at top level that says something."""
    return f"do $body$ begin {statement}; commit; end $body$"


def total_bytes(session: Session, job: Handle) -> int:
    """How much of what a job said is kept."""
    number: int = session.value(
        "select coalesce(sum(octet_length(message) + coalesce(octet_length(detail), 0)), 0)"
        " from background.pg_background_messages(%s, %s)",
        tuple(job),
    )
    return number


def test_a_notice_of_a_million_lines_does_not_hold_up_its_own_job(launcher: Session) -> None:
    job = launcher.launch(
        speaking(f"raise notice 'a%', repeat(chr(10), {LINE_BREAKS}) || 'b'; raise notice 'last'")
    )
    assert launcher.wait(job, 20_000)
    assert launcher.outcome(job).state == "stopped"
    [long, last] = [row[2] for row in launcher.call("messages", *job)]
    assert long == "a" + "\n" * LINE_BREAKS + "b"
    assert last == "last"


def test_a_worker_that_reads_a_million_lines_heeds_pg_terminate_backend(
    launcher: Session, admin: Session
) -> None:
    for pause_ms in (1, 300):
        job = launcher.launch(speaking(f"raise notice '%', repeat(chr(10), {LINE_BREAKS})"))
        launcher.wait(job, pause_ms)
        began = time.monotonic()
        admin.execute("select pg_terminate_backend(%s)", [job.pid])
        eventually(lambda pid=job.pid: admin.backend(pid) is None, 3)  # type: ignore[misc]
        assert elapsed_ms(began) < 3000


def test_of_many_messages_the_first_are_kept(launcher: Session) -> None:
    job = launcher.launch(
        speaking("for n in 1 .. 30000 loop raise notice 'number %', n using hint = 'h'; end loop")
    )
    assert launcher.wait(job, 30_000)
    assert launcher.outcome(job).state == "stopped"
    kept = launcher.call("messages", *job)
    assert 1000 <= len(kept) <= MOST_MESSAGES
    assert kept == [(n, "NOTICE", f"number {n}", None, "h") for n in range(1, len(kept) + 1)]


def test_of_long_messages_no_more_than_the_cap_is_kept(launcher: Session) -> None:
    job = launcher.launch(
        speaking("for n in 1 .. 40 loop raise notice '%', repeat('x', 1000000); end loop")
    )
    assert launcher.wait(job, 30_000)
    assert launcher.outcome(job).state == "stopped"
    assert 1_000_000 <= total_bytes(launcher, job) <= MOST_BYTES


def test_a_job_that_never_stops_talking_can_be_canceled(launcher: Session) -> None:
    job = launcher.launch(speaking("loop raise notice '%', repeat(chr(10), 100000); end loop"))
    assert not launcher.wait(job, 2000)
    began = time.monotonic()
    launcher.cancel(job, 1000)
    assert launcher.wait(job, 3000)
    assert elapsed_ms(began) < 3000
    assert total_bytes(launcher, job) <= MOST_BYTES
