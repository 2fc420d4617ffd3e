"""Run a file of SQL through psql, and print each statement with what came back.

A line comment that begins with a number is the file's headline, other comments are narration.
Answers of more than a few lines are cut, and say so.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tools.product import find_psql

LONGEST_ANSWER = 8
WIDTH = 116
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def shown(script: str, output: Iterable[str]) -> Iterator[str]:
    """Yield the lines to print for what `psql --echo-all` said about a script.

    psql echoes each line of the script as it is; what stands between two of these is an answer.
    """
    expected = [line for line in script.splitlines() if line]
    answer: list[str] = []
    for line in output:
        if expected and line == expected[0]:
            yield from shortened(answer)
            answer = []
            yield from echoed(expected.pop(0))
        elif line.strip():
            answer.append(line)
    yield from shortened(answer)


def echoed(line: str) -> Iterator[str]:
    """Yield one line of the script: the headline, a piece of narration, or SQL."""
    if not line.startswith("-- "):
        yield f"{BOLD}{line}{PLAIN}"
    elif line[3].isdigit():
        yield ""
        yield f"{DIM}{'-' * WIDTH}{PLAIN}"
        yield f"{BOLD}{line[3:]}{PLAIN}"
        yield ""
    else:
        yield ""
        yield line


def shortened(answer: Sequence[str]) -> Iterator[str]:
    """Yield the lines of an answer, indented, and cut where there are too many."""
    lines = answer if len(answer) <= LONGEST_ANSWER else answer[: LONGEST_ANSWER - 1]
    for line in lines:
        yield from textwrap.wrap(
            line, WIDTH, initial_indent="    ", subsequent_indent="      ", drop_whitespace=False
        )
    if len(lines) < len(answer):
        yield f"    ... and {len(answer) - len(lines)} lines more"


def play(dsn: str, scene: Path) -> bool:
    """Run one file, print it with its answers as they come, and return whether psql was content."""
    command = [find_psql(), "--no-psqlrc", "--echo-all", "--dbname", dsn]
    command += ["--set", "ON_ERROR_STOP=1", "--set", "SHOW_CONTEXT=never"]
    command += ["--pset", "footer=off", "--pset", "pager=off"]
    with (
        scene.open() as script,
        subprocess.Popen(
            command, stdin=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as psql,
    ):
        for line in shown(scene.read_text(), (line.rstrip("\n") for line in psql.stdout or ())):
            print(line, flush=True)
    return psql.returncode == 0
