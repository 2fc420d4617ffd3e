"""The only module that imports plpy: statements, errors, and the door to the owner's rights."""

from __future__ import annotations

import plpy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pg_background.errors import Refusal

# The schema of the public names. In single quotes, because the name itself may stand in double ones.
SCHEMA = '@extschema@'  # fmt: skip  # noqa: Q000

_plans: dict[str, Any] = {}


def rows(sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
    """Run a statement through a plan that is kept for the session."""
    plan = _plans.get(sql)
    if plan is None:
        # Qualified, because a type of the caller's own may have the same name and come first.
        plan = _plans[sql] = plpy.prepare(sql, [f"pg_catalog.{each}" for each in types])
    return plpy.execute(plan, args) if args else plpy.execute(plan)


def row(sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> dict[str, Any] | None:
    """The first row, or None."""
    for found in rows(sql, types, args):
        first: dict[str, Any] = found
        return first
    return None


def value(sql: str, types: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
    """The first column of the first row, or None."""
    found = row(sql, types, args)
    return next(iter(found.values())) if found else None


def execute(command: str) -> None:
    """Run a command that is not kept, with the caller's own rights."""
    plpy.execute(command)


def commit() -> None:
    """End the transaction of a procedure and begin another."""
    plpy.commit()


def rollback() -> None:
    """Undo the transaction of a procedure and begin another."""
    plpy.rollback()


def subtransaction() -> Any:
    """A context whose work is undone when it is left by an exception."""
    return plpy.subtransaction()


def sleep(milliseconds: float) -> None:
    """Sleep in a way that a cancel ends."""
    rows("select pg_catalog.pg_sleep($1)", ("float8",), (milliseconds / 1000,))


def literal(content: Any) -> str:
    """A value as SQL, by the server's own quoting."""
    if content is None:
        return "null"
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, int):
        return str(content)
    if isinstance(content, (list, tuple)):
        return "array[" + ", ".join(map(literal, content)) + "]::pg_catalog.text[]"
    quoted: str = plpy.quote_literal(content)
    return quoted


def identifier(name: str) -> str:
    """A name as SQL, by the server's own quoting."""
    quoted: str = plpy.quote_ident(name)
    return quoted


# --- errors ------------------------------------------------------------------------------------

ServerError: type[Exception] = plpy.SPIError
CANCELED = "57014"


def sqlstate_of(error: BaseException) -> str:
    """SQLSTATE of an error that the server raised."""
    state: str = getattr(error, "sqlstate", "") or ""
    return state


def server_message(error: BaseException) -> str:
    """What the server said, without the class name that PL/Python puts before it."""
    return str(error)


def server_fields(error: BaseException) -> dict[str, Any]:
    """Detail and hint of an error that the server raised."""
    detail, hint = (getattr(error, "spidata", None) or (None, None, None))[1:3]
    return {"detail": detail, "hint": hint}


def raise_to_user(refusal: Refusal) -> None:
    """Raise a Refusal as a PostgreSQL error.

    PL/Python starts the message with the name of the exception's class, so the class is named
    for the reader.
    """
    speaker = type(refusal.speaker, (plpy.Error,), {"__module__": "builtins"})
    error = speaker(str(refusal))
    error.sqlstate = refusal.sqlstate
    for name in ("detail", "hint", "schema_name", "table_name", "column_name", "constraint_name"):
        setattr(error, name, refusal.fields.get(name))
    # The refusal is its own story: without this, the reader gets a second traceback.
    raise error from None


def tell(severity: str, message: str, detail: str | None, hint: str | None) -> None:
    """Send a message to the client at its own level."""
    fields = {name: text for name, text in (("detail", detail), ("hint", hint)) if text}
    speak = {"WARNING": plpy.warning, "INFO": plpy.info}.get(severity, plpy.notice)
    speak(message, **fields)


# --- the door ----------------------------------------------------------------------------------

# The loader puts PL/Python's GD here.
GLOBALS: dict[str, Any] = {}


def session_memory() -> dict[str, Any]:
    """A dict that lives as long as the session, across reloads of these modules."""
    memory: dict[str, Any] = GLOBALS.setdefault("pg_background memory", {})
    return memory


def privileged(action: Callable[[], Any]) -> Any:
    """Run a callable with the rights of the schema's owner, and return what it returns.

    The door is a SECURITY DEFINER function without arguments that runs what was left for it here,
    once. Users cannot write Python, so they can leave nothing. Links need it, and the queue, which starts
    the jobs of everybody.
    """
    left: dict[str, Any] = {}

    def carry_out() -> None:
        try:
            left["result"] = action()
        except BaseException as error:
            # Raised again on this side, where it is still a Python exception with all its fields.
            left["error"] = error

    GLOBALS["pg_background door"] = carry_out
    try:
        rows("select pgbackground.door()")
    finally:
        GLOBALS.pop("pg_background door", None)
    if "error" in left:
        raise left["error"]
    return left.get("result")
