"""grant_privileges and revoke_privileges: the DBA's helpers."""

from __future__ import annotations

from pg_background import db


def change(verb: str, role: str | None, print_commands: bool | None) -> bool:
    """Grant pgbackground_role to a role, or revoke it. False, with a NOTICE: there is no such role.

    Raises 42501 for those who may not grant it.
    """
    if not role or not db.role_exists(role):
        db.tell("NOTICE", f'role "{role or ""}" does not exist', None, None)
        return False
    command = db.membership_text(verb, role)
    if print_commands:
        db.tell("INFO", command, None, None)
    if db.is_granted(role) != (verb == "grant"):
        db.execute(command)
    return True
