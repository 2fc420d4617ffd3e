"""grant_privileges and revoke_privileges: the DBA's helpers."""

from __future__ import annotations

from pg_background import db


def change(verb: str, role: str | None, print_commands: bool | None) -> bool:
    """Grant pgbackground_role to a role, or revoke it. False, with a NOTICE: there is no such role.

    Raises 42501 for those who may not grant it.
    """
    if not role or not _exists(role):
        db.tell("NOTICE", f'role "{role or ""}" does not exist', None, None)
        return False
    preposition = {"grant": "to", "revoke": "from"}[verb]
    command = f"{verb} pgbackground_role {preposition} {db.identifier(role)}"
    if print_commands:
        db.tell("INFO", command, None, None)
    if _is_granted(role) != (verb == "grant"):
        db.execute(command)
    return True


def _exists(role: str) -> bool:
    found: bool = db.value(
        "select exists (select from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) $1)",
        ("name",),
        (role,),
    )
    return found


def _is_granted(role: str) -> bool:
    """Has this role been granted the use of the product, itself?"""
    found: bool = db.value(
        "select exists (select from pg_catalog.pg_auth_members m"
        " join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) m.member"
        " join pg_catalog.pg_roles g on g.oid operator(pg_catalog.=) m.roleid"
        " where r.rolname operator(pg_catalog.=) $1 and g.rolname operator(pg_catalog.=) 'pgbackground_role')",
        ("name",),
        (role,),
    )
    return found
