"""The hand-over of a job to a link's worker: its clock, then the command that runs it. Inside the door."""

from __future__ import annotations

from pg_background import db, dblink, link, settings
from pg_background.errors import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Behind the worker's time-out in ms: what catches the server's cancel is ended, on servers that can.
LAST_CALL_MS = 1000
HAS_TRANSACTION_TIMEOUT = 170000


class Limits:
    """The time-outs of a job in ms, 0 for none: its own as a whole, and the launcher's statement_timeout."""

    __slots__ = ("statement_ms", "worker_ms")

    def __init__(self, worker_ms: int, statement_timeout: str | None) -> None:
        self.worker_ms = worker_ms
        self.statement_ms = settings.milliseconds(statement_timeout)

    @property
    def clock_ms(self) -> int:
        """What bounds the worker's command."""
        return min(filter(None, (self.worker_ms, self.statement_ms)), default=0)


def fields(answer: list[str | None]) -> list[str]:
    """The columns of a record that came as text: words and numbers, none of which is ever quoted."""
    return (answer[0] or "").strip("()").split(",")


def text(sql: str, arguments: tuple[Any, ...]) -> str:
    """The command that runs a job; it begins with the job's SQL, for those who read pg_stat_activity."""
    shown = sql[:900].replace("/*", "/ *").replace("*/", "* /")
    if shown.endswith(("/", "*")):
        shown += " "
    return f"/* {shown} */ call pgbackground.run({', '.join(map(db.literal, arguments))})"


def send(to: link.Link, lock_key: int, command: str, limits: Limits) -> None:
    """Send the command, under the job's clock, and do not wait. The worker forgets the clock after the job."""
    if limits.clock_ms:
        to.set("statement_timeout", str(limits.clock_ms))
        if limits.worker_ms and _version() >= HAS_TRANSACTION_TIMEOUT:
            to.set("transaction_timeout", str(limits.worker_ms + LAST_CALL_MS))
    if not dblink.send(to.name, command):
        raise Gone
    to.job = lock_key


def _version() -> int:
    number: int = db.value(
        "select pg_catalog.current_setting('server_version_num')::pg_catalog.int4"
    )
    return number
