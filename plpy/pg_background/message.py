"""Messages of top-level jobs: libpq prints them to file descriptor 2, and here they are caught.

dblink installs no notice processor, so what the executor says (NOTICE, WARNING, INFO with DETAIL and
HINT, everything that VACUUM VERBOSE tells) goes to the server's log. While a link is read, the
descriptor points into memory instead.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

SEVERITIES = ("DEBUG", "LOG", "INFO", "NOTICE", "WARNING")
DETAILS = ("DETAIL", "HINT")
LEFT_OUT = ("CONTEXT", "LOCATION", "STATEMENT")
STDERR = 2
MOST_BYTES = 16 * 1024 * 1024
MOST_MESSAGES = 10_000
MOST_FIELDS = 5 * MOST_MESSAGES
# What is printed beyond the most that is kept goes here, again and again.
SPARE_BYTES = 1024 * 1024


class Kept:
    """Text that libpq printed while `watching`, as much as is kept.

    The memory cannot grow, whatever is printed in one go: the system refuses what does not fit, and
    libpq does not mind.
    """

    def __init__(self) -> None:
        self._memory = os.memfd_create(
            "pg_background messages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        )
        os.truncate(self._memory, MOST_BYTES + SPARE_BYTES)
        fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        self.spoke = False

    def watching(self, action: Callable[[], Any]) -> Any:
        """Run an action that reads from a link, with file descriptor 2 pointing into memory.

        spoke: was anything printed?
        """
        before = os.lseek(self._memory, 0, os.SEEK_CUR)
        real = os.dup(STDERR)
        os.dup2(self._memory, STDERR)
        try:
            return action()
        finally:
            os.dup2(real, STDERR)
            os.close(real)
            after = os.lseek(self._memory, 0, os.SEEK_CUR)
            self.spoke = after != before
            if after > MOST_BYTES:
                os.lseek(self._memory, MOST_BYTES, os.SEEK_SET)

    def text(self) -> str:
        """Everything kept so far; closes the memory."""
        left = os.lseek(self._memory, 0, os.SEEK_CUR)
        os.lseek(self._memory, 0, os.SEEK_SET)
        pieces = []
        while left > 0:
            pieces.append(os.read(self._memory, min(left, 1 << 20)))
            left -= len(pieces[-1])
        os.close(self._memory)
        return b"".join(pieces).decode(errors="replace")


def parse(text: str) -> list[dict[str, Any]]:
    """The first messages in what libpq printed: severity, message, detail, hint.

    A line that begins no field continues the one before, as the server's multi-line texts do.
    """
    found: list[dict[str, Any]] = []
    # So that every field begins behind a line break.
    text = "\n" + text
    field, begins = "", 0
    for at, word in _words(text):
        if field:
            found[-1][field] = text[begins:at].rstrip("\n")
        field, begins = "", at + len(word) + 4
        if word in SEVERITIES:
            if len(found) == MOST_MESSAGES:
                return found
            found.append({"severity": word, "message": "", "detail": None, "hint": None})
            field = "message"
        elif word in DETAILS and found:
            field = word.lower()
    if field:
        found[-1][field] = text[begins:].rstrip("\n")
    return found


def _words(text: str) -> Iterator[tuple[int, str]]:
    """The words that begin a field, and the places of the line breaks before them, in order.

    Searched for word by word, which takes no more turns than there are fields: a text may be nothing but line breaks.
    """
    marks = {word: f"\n{word}:  " for word in (*SEVERITIES, *DETAILS, *LEFT_OUT)}
    places = sorted((text.find(mark), word) for word, mark in marks.items() if mark in text)
    for _ in range(MOST_FIELDS):
        if not places:
            return
        at, word = places.pop(0)
        yield at, word
        following = text.find(marks[word], at + 1)
        if following >= 0:
            places.append((following, word))
            places.sort()
