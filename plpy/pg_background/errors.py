"""The errors that users meet; the seam turns them into PostgreSQL's own."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Refusal(Exception):
    """A request that cannot be met: message, SQLSTATE, and the other fields of a PostgreSQL error.

    `speaker` is what the message starts with: `pg_background`, or `background worker` for a
    job's own error.
    """

    def __init__(
        self, message: str, sqlstate: str, speaker: str = "pg_background", **fields: Any
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.speaker = speaker
        self.fields = {name: value for name, value in fields.items() if value}


class Gone(Exception):
    """A link's other end has left, or does not answer: take another one."""


def _shown(number: int | None) -> str:
    return "null" if number is None else str(number)


def unknown_handle(pid: int | None, cookie: int | None) -> Refusal:
    """42704: nothing is known of the handle."""
    return Refusal(
        f"no job is known by PID {_shown(pid)} and cookie {_shown(cookie)}",
        "42704",
        hint="Ended jobs are forgotten after their retention; pg_background_jobs shows the others.",
    )


def cookie_mismatch(pid: int | None) -> Refusal:
    """55000: the pid is a worker's, the cookie is not its job's."""
    return Refusal(
        f"cookie mismatch for PID {_shown(pid)}",
        "55000",
        hint="The process has gone on to another job, or the handle is stale.",
    )


def not_your_job(pid: int | None) -> Refusal:
    """42501: the job belongs to a role that the caller is not a member of."""
    return Refusal(f"permission denied for the job of PID {_shown(pid)}", "42501")


def bad_value(message: str, hint: str | None = None) -> Refusal:
    """22023: an argument or a setting has a value that means nothing."""
    return Refusal(message, "22023", hint=hint)
