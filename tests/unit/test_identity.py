"""Whose job it is, and as whom its worker logs in."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.unit.conftest import FakeDb, FakeServerError


@pytest.fixture
def identity(load: Callable[[str], ModuleType]) -> Any:
    """Give the module, over a seam without a server."""
    return load("identity")


def caller(session_user: str, current_user: str, role: str) -> dict[str, str]:
    """What the server says of a session."""
    return {"session_user": session_user, "current_user": current_user, "role": role}


@pytest.mark.parametrize(
    ("session_user", "current_user", "role", "is_confined", "login", "own"),
    [
        ("app", "app", "none", False, "app", True),
        ("app", "app", "app", False, "app", True),
        # SET ROLE: the worker logs in as the session and sets the same role
        ("app", "other", "other", False, "app", True),
        # the role has another name since it was set
        ("app", "renamed", "other", False, "app", True),
        # inside a function of `owner`: his login, which the session must not keep
        ("app", "owner", "none", True, "owner", False),
        ("app", "owner", "other", True, "owner", False),
        # inside a function of the very role that was set: only the server can tell
        ("app", "other", "other", True, "other", False),
        # inside a function of the session's own user, called after SET ROLE
        ("app", "app", "other", True, "app", True),
    ],
)
def test_login_and_role(
    identity: Any,
    session_user: str,
    current_user: str,
    role: str,
    is_confined: bool,
    login: str,
    own: bool,
) -> None:
    found = identity.of_caller(caller(session_user, current_user, role), lambda: is_confined)
    assert (found.login, found.role, found.own_login) == (login, current_user, own)
    assert found.switches is (login != current_user)


def test_the_server_is_asked_only_where_names_do_not_tell(identity: Any) -> None:
    asked: list[bool] = []

    def confined() -> bool:
        asked.append(True)
        return False

    identity.of_caller(caller("a", "a", "none"), confined)
    identity.of_caller(caller("a", "a", "b"), confined)
    identity.of_caller(caller("a", "b", "none"), confined)
    assert asked == []
    identity.of_caller(caller("a", "b", "b"), confined)
    assert asked == [True]


def test_where_names_do_not_tell_the_server_does_and_the_callers_role_stays_as_it_is(
    identity: Any, fake_db: FakeDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal: list[FakeServerError] = []
    undone: list[bool] = []

    class Subtransaction:
        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
            undone.append(kind is not None)

    def set_role(*_: Any) -> list[dict[str, Any]]:
        if refusal:
            raise refusal[0]
        return [{"set_config": "none"}]

    monkeypatch.setattr(fake_db, "subtransaction", Subtransaction)
    fake_db.questions["set_config('role'"] = set_role
    assert identity.of_caller(caller("a", "b", "b")).login == "a"
    refusal.append(
        FakeServerError("cannot set parameter within security-definer function", "42501")
    )
    assert identity.of_caller(caller("a", "b", "b")).login == "b"
    assert undone == [True, True]
    refusal[0] = FakeServerError("canceling statement due to user request", "57014")
    with pytest.raises(FakeServerError):
        identity.of_caller(caller("a", "b", "b"))


@pytest.mark.parametrize(
    ("isolation", "old"),
    [("read committed", False), ("read uncommitted", False), ("repeatable read", True), ("serializable", True)],
)  # fmt: skip
def test_which_transactions_see_the_registry_as_it_was(
    identity: Any, fake_db: FakeDb, isolation: str, old: bool
) -> None:
    fake_db.questions["transaction_isolation"] = lambda: [{"current_setting": isolation}]
    assert identity.snapshot_is_old() is old
