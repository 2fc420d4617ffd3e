"""What a top-level job says to its client is kept, with every field, and told again."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.fix_db import Roles
from tests.integration.session import Handle, Session

SPEAKING = """do $body$
begin
    raise info 'an info';
    raise notice 'a notice' using detail = 'its detail', hint = 'its hint';
    commit;
    raise warning E'a warning\\nof two lines';
end
$body$"""


def test_messages_are_kept_with_severity_text_detail_and_hint_in_order(launcher: Session) -> None:
    job = launcher.launch(SPEAKING)
    assert launcher.finished(job).state == "stopped"
    assert launcher.call("messages", *job) == [
        (1, "INFO", "an info", None, None),
        (2, "NOTICE", "a notice", "its detail", "its hint"),
        (3, "WARNING", "a warning\nof two lines", None, None),
    ]


def test_result_tells_them_again_at_their_level(launcher: Session) -> None:
    job = launcher.launch(SPEAKING)
    launcher.wait(job)
    heard: list[tuple[str | None, ...]] = []
    launcher.connection.add_notice_handler(
        lambda each: heard.append(
            (each.severity, each.message_primary, each.message_detail, each.message_hint)
        )
    )
    launcher.result(job)
    assert heard == [
        ("INFO", "an info", None, None),
        ("NOTICE", "a notice", "its detail", "its hint"),
        ("WARNING", "a warning\nof two lines", None, None),
    ]


def test_vacuum_verbose_gives_its_whole_report(launcher: Session) -> None:
    launcher.execute("create table t as select generate_series(1, 1000) as n")
    launcher.execute("delete from t where n <= 500")
    job = launcher.launch("vacuum (verbose, analyze) t")
    assert launcher.finished(job).state == "stopped"
    report = "\n".join(row[2] for row in launcher.call("messages", *job))
    for part in (
        "vacuuming",
        "tuples: 500 removed",
        "system usage:",
        "analyzing",
        "rows in sample",
    ):
        assert part in report


def test_the_messages_of_a_job_that_fails_are_kept_too(launcher: Session) -> None:
    job = launcher.launch("do $body$ begin raise notice 'so far'; commit; perform 1/0; end $body$")
    assert launcher.finished(job).sqlstate == "22012"
    assert launcher.call("messages", *job) == [(1, "NOTICE", "so far", None, None)]


def test_a_job_that_said_nothing_has_none(launcher: Session) -> None:
    inline, silent = launcher.launch("select 1"), launcher.launch("do $$ begin commit; end $$")
    for job in (inline, silent):
        launcher.wait(job)
        assert launcher.call("messages", *job) == []


def test_other_sessions_of_the_role_read_them(launcher: Session, observer: Session) -> None:
    job = launcher.launch(SPEAKING)
    observer.wait(job)
    assert len(observer.call("messages", *job)) == 3


def test_a_transaction_with_an_old_snapshot_reads_them_too(launcher: Session) -> None:
    launcher.execute("begin isolation level repeatable read")
    launcher.rows("select 1")
    job = launcher.launch(SPEAKING)
    launcher.wait(job)
    assert len(launcher.call("messages", *job)) == 3
    launcher.execute("commit")


def test_messages_of_another_role_are_refused(
    launcher: Session, roles: Roles, connect: Callable[..., Session]
) -> None:
    job = launcher.launch(SPEAKING)
    launcher.wait(job)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connect(roles.create("other")).call("messages", *job)


def test_messages_of_an_unknown_handle_or_a_wrong_pid_are_refused(launcher: Session) -> None:
    job = launcher.launch(SPEAKING)
    launcher.wait(job)
    with pytest.raises(psycopg.errors.UndefinedObject):
        launcher.call("messages", 1, 1)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        launcher.call("messages", *Handle(job.pid + 1, job.cookie))
