"""Who asks for a job, and as whom its worker logs in."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Identity:
    """The launcher's roles: login is the worker's session_user, role its current_user."""

    __slots__ = ("login", "own_login", "role")

    def __init__(self, login: str, role: str, own_login: bool) -> None:
        self.login = login
        self.role = role
        self.own_login = own_login

    @property
    def switches(self) -> bool:
        """Must the worker SET ROLE after its login?"""
        return self.login != self.role


def of_caller(caller: Mapping[str, Any], confined: Callable[[str], bool]) -> Identity:
    """Derive the worker's login from the caller's session_user, current_user and role setting.

    After SET ROLE the session could go back to its own rights at any time, so the worker logs in
    as the session does and sets the same role. Inside a SECURITY DEFINER function (and in
    maintenance commands, which run as the table's owner) it could not, and neither may the job:
    the worker logs in as current_user. `confined(role)` tells the two apart where the names alone
    do not: the server refuses to set the role again in there.
    """
    session_user, current_user = caller["session_user"], caller["current_user"]
    role_setting = caller["role"]
    if current_user == session_user:
        return Identity(session_user, current_user, own_login=True)
    if role_setting == current_user and not confined(role_setting):
        return Identity(session_user, current_user, own_login=True)
    return Identity(current_user, current_user, own_login=False)
