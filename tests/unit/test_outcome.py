"""What is told of a job, from its row of the registry."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from pg_background.errors import Refusal
from tests.unit.conftest import FakeDb


@pytest.fixture
def outcome(load: Callable[[str], ModuleType]) -> Any:
    """Give the module, over a seam without a server."""
    return load("outcome")


def row(**fields: Any) -> dict[str, Any]:
    """A row of the registry."""
    live = fields.get("state", "running") in ("queued", "running")
    return {
        "pid": 12, "cookie": 34, "state": "running", "live": live, "row_count": 0, "command_tag": "", "sqlstate": None,
        "message": None, "label": None, "launched_at": "launched", "started_at": None,
        "finished_at": None, "detached": False, "sql": "select 1", "role": 10, "queue_size": 65536, **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "completed", "has_error"),
    [
        ("queued", False, False),
        ("running", False, False),
        ("stopped", True, False),
        ("error", True, True),
        ("canceled", True, True),
    ],
)
def test_each_state_says_whether_the_job_has_ended_and_failed(
    outcome: Any, monkeypatch: pytest.MonkeyPatch, state: str, completed: bool, has_error: bool
) -> None:
    found = row(state=state)
    columns = outcome.columns(found)
    assert columns[:6] == (12, 34, state, False, completed, has_error)
    monkeypatch.setattr(outcome.registry, "find", lambda *_: found)
    assert outcome.result_info(12, 34)[2:4] == (completed, has_error)


def test_a_job_is_consumed_where_this_session_has_read_it(outcome: Any) -> None:
    session = outcome.session
    job = session.TrackedJob(34, 5, 12, "app", None, keeps_rows=True)
    session.jobs()[34] = job
    assert outcome.columns(row())[3] is False
    job.consumed = True
    assert outcome.columns(row())[3] is True


def test_nothing_is_told_of_what_is_not_known(
    outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome.registry, "known", lambda *_: None)
    assert outcome.outcome(1, 2) == (1, 2) + (None,) * 10
    assert outcome.outcome(None, None) == (None,) * 12


def test_a_job_that_waits_in_the_queue_counts_its_time_from_the_launch(
    outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome.registry, "find", lambda *_: row(state="queued", pid=0))
    assert outcome.result_info(0, 34)[4:] == ("launched", None)


def test_error_info_is_null_without_an_error(outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome.registry, "find", lambda *_: row(state="stopped"))
    assert outcome.error_info(12, 34) is None


def test_list_shows_the_jobs_of_the_session_that_the_caller_may_see_in_order_of_launch(
    outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = outcome.session
    # The registry tells nothing of a job that this caller may not see, or that is gone.
    rows = {3: row(cookie=3, sql="x" * 500), 2: None, 1: row(cookie=1, state="queued", pid=0)}
    for cookie in rows:
        session.jobs()[cookie] = session.TrackedJob(cookie, 5, 12, "app", None, keeps_rows=True)
    monkeypatch.setattr(outcome.registry, "look", lambda cookie: rows[cookie])
    session.jobs()[1].consumed = True
    first, second = outcome.listed()
    assert (first[0], first[1], first[5], first[6], first[8]) == (
        12,
        3,
        "running",
        "x" * 120,
        False,
    )
    assert (second[0], second[1], second[5], second[8]) == (0, 1, "queued", True)


def test_what_may_not_be_seen_is_refused_where_it_is_asked_for_by_name(
    outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*_: Any) -> None:
        message = "permission denied"
        raise Refusal(message, "42501")

    monkeypatch.setattr(outcome.registry, "find", find)
    for verb in (outcome.result_info, outcome.error_info, outcome.full_sql):
        with pytest.raises(Refusal):
            verb(12, 34)
    with pytest.raises(Refusal):
        list(outcome.messages(12, 34))


def test_a_session_forgets_jobs_that_others_have_let_go_of_when_they_have_become_many(
    outcome: Any, fake_db: FakeDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, registry = outcome.session, outcome.registry
    monkeypatch.setattr(registry.identity, "snapshot_is_old", lambda: False)
    looks: list[int] = []

    def let_go(cookies: list[int]) -> list[dict[str, Any]]:
        looks.append(len(cookies))
        return [{"array": [cookie for cookie in cookies if cookie % 10]}]

    fake_db.questions["j.detached"] = let_go
    for cookie in range(10000):
        registry.track(session.TrackedJob(cookie, 1, 12, "app", None, keeps_rows=True))
        assert len(session.jobs()) < 2000
    assert len(looks) < 20
