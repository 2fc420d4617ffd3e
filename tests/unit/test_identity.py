"""Whose job it is, and as whom its worker logs in."""

from __future__ import annotations

import pytest

from pg_background.identity import of_caller


@pytest.mark.parametrize(
    ("session_user", "current_user", "role", "is_confined", "login", "own"),
    [
        ("app", "app", "none", False, "app", True),
        ("app", "app", "app", False, "app", True),
        # SET ROLE: the worker logs in as the session and sets the same role
        ("app", "other", "other", False, "app", True),
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
    session_user: str, current_user: str, role: str, is_confined: bool, login: str, own: bool
) -> None:
    caller = {"session_user": session_user, "current_user": current_user, "role": role}
    who = of_caller(caller, lambda _: is_confined)
    assert (who.login, who.role, who.own_login) == (login, current_user, own)
    assert who.switches is (login != current_user)


def test_the_server_is_asked_only_where_names_do_not_tell() -> None:
    asked: list[str] = []

    def confined(role: str) -> bool:
        asked.append(role)
        return False

    of_caller({"session_user": "a", "current_user": "a", "role": "none"}, confined)
    of_caller({"session_user": "a", "current_user": "b", "role": "none"}, confined)
    assert asked == []
    of_caller({"session_user": "a", "current_user": "b", "role": "b"}, confined)
    assert asked == ["b"]
