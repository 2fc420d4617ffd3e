"""Messages of top-level jobs: libpq prints them to file descriptor 2, and here they are caught.

dblink installs no notice processor, so what the executor says (NOTICE, WARNING, INFO with DETAIL and
HINT, everything that VACUUM VERBOSE tells) goes to the server's log. While a link is read, the
descriptor points into memory instead.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SEVERITIES = ("DEBUG", "LOG", "INFO", "NOTICE", "WARNING")
STDERR = 2
MOST_BYTES = 16 * 1024 * 1024


class Kept:
    """Text that libpq printed while `watching`."""

    def __init__(self) -> None:
        self._memory = os.memfd_create("pg_background messages")

    def watching(self, action: Callable[[], Any]) -> Any:
        """Run an action that reads from a link, with file descriptor 2 pointing into memory."""
        real = os.dup(STDERR)
        os.dup2(self._memory, STDERR)
        try:
            return action()
        finally:
            os.dup2(real, STDERR)
            os.close(real)

    def text(self) -> str:
        """Everything kept so far (at most 16 MB); closes the memory."""
        os.lseek(self._memory, 0, os.SEEK_SET)
        pieces = []
        left = MOST_BYTES
        while left > 0:
            piece = os.read(self._memory, min(left, 1 << 20))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        os.close(self._memory)
        return b"".join(pieces).decode(errors="replace")


def parse(text: str) -> list[dict[str, Any]]:
    """The messages in what libpq printed: severity, message, detail, hint.

    A line that begins no field continues the one before, as the server's multi-line texts do.
    """
    found: list[dict[str, Any]] = []
    field = ""
    for line in text.split("\n"):
        word, colon, rest = line.partition(":  ")
        if colon and word in SEVERITIES:
            found.append({"severity": word, "message": rest, "detail": None, "hint": None})
            field = "message"
        elif colon and found and word in ("DETAIL", "HINT"):
            field = word.lower()
            found[-1][field] = rest
        elif colon and found and word in ("CONTEXT", "LOCATION", "STATEMENT"):
            field = ""
        elif found and field:
            found[-1][field] += "\n" + line
    for each in found:
        for name in ("message", "detail", "hint"):
            if each[name] is not None:
                each[name] = each[name].rstrip("\n")
    return found
