"""Who asks for a job, and as whom its worker logs in."""

from __future__ import annotations

from pg_background import db

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

CALLER = (
    "select session_user::pg_catalog.text as session_user, current_user::pg_catalog.text as current_user,"
    " pg_catalog.to_regrole(pg_catalog.quote_ident(current_user))::pg_catalog.oid::pg_catalog.int8 as role_oid,"
    " pg_catalog.current_setting('role') as role,"
    " pg_catalog.current_setting('search_path') as search_path,"
    " pg_catalog.current_setting('standard_conforming_strings') as standard_strings,"
    " pg_catalog.current_setting('pg_background.max_workers', true) as max_workers,"
    " pg_catalog.current_setting('pg_background.worker_timeout', true) as worker_timeout,"
    " pg_catalog.current_setting('pg_background.default_queue_size', true) as default_queue_size,"
    " pg_catalog.current_setting('pg_background.when_full', true) as when_full,"
    " pg_catalog.current_setting('transaction_timeout', true) as transaction_timeout,"
    " pg_catalog.current_setting('transaction_isolation') as isolation,"
    " pg_catalog.pg_backend_pid() as pid, pg_catalog.pg_is_in_recovery() as standby"
)


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


def caller() -> dict[str, Any]:
    """Who calls, and the product's own settings. Not inside the door: current_user must be the caller's."""
    found: dict[str, Any] = db.rows(CALLER)[0]
    return found


def of_caller(caller: Mapping[str, Any], confined: Callable[[], bool] | None = None) -> Identity:
    """Derive the worker's login from the caller's session_user, current_user and role setting.

    After SET ROLE the session could go back to its own rights at any time, so the worker logs in
    as the session does and sets the same role, which the server refuses where the session has lost
    it since. Inside a SECURITY DEFINER function (and in maintenance commands, which run as the
    table's owner) it could not, and neither may the job: the worker logs in as current_user.
    `confined` tells the two apart where a role is set: the server refuses to set any in there.
    """
    session_user, current_user = caller["session_user"], caller["current_user"]
    if current_user == session_user or (
        caller["role"] != "none" and not (confined or is_confined)()
    ):
        return Identity(session_user, current_user, own_login=True)
    return Identity(current_user, current_user, own_login=False)


def current() -> Identity:
    """The caller's identity."""
    return of_caller(caller())


def own() -> Identity:
    """The session's own, for what is the product's business and nobody's in particular."""
    user: str = db.value("select session_user::pg_catalog.text")
    return Identity(user, user, own_login=True)


def own_with_role(role: str) -> Identity:
    """The session's own login with a role that it had set."""
    return Identity(own().login, role, own_login=True)


def role() -> str:
    """The caller's current_user."""
    found: str = db.value("select current_user::pg_catalog.text")
    return found


def snapshot_is_old() -> bool:
    """Does this transaction see the registry as it was at its start?"""
    isolation = db.value("select pg_catalog.current_setting('transaction_isolation')")
    return isolation in ("repeatable read", "serializable")


def is_confined() -> bool:
    """Is this code kept from changing its role (SECURITY DEFINER function, maintenance command)?

    Tried in a subtransaction that is undone: the caller's own SET ROLE, or SET LOCAL ROLE, stays as it is.
    """
    try:
        with db.subtransaction():
            db.rows("select pg_catalog.set_config('role', 'none', true)")
            raise _Undone  # noqa: TRY301 (this is how a subtransaction is undone)
    except _Undone:
        return False
    except db.ServerError as error:
        if db.sqlstate_of(error) != "42501":
            raise
        return True


class _Undone(Exception):
    """Raised to undo a subtransaction."""
