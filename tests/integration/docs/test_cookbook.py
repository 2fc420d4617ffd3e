"""The recipes of docs/cookbook.md, played by psql as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

import pytest

from tests.fix_db import Database
from tests.fix_wait import eventually
from tools.product import ROOT, find_psql

DOCUMENT = ROOT / "docs" / "cookbook.md"

_RECIPE = re.compile(r"^## (.*)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(sql|sql eventually|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What the document promises to those who knew pg_background, and to those who have work that waits.
TOPICS = (
    "VACUUM in the background, with polling",
    "An audit trail that survives a rollback",
    "Notify without waiting for the own commit",
    "ETL with a table of steps",
    "One job for each table, and all outcomes with drain",
    "The fastest wins: wait_any",
    "A time-out, with cancel and grace",
    "Cleaning up with purge",
    "A chain: each step when the one before has succeeded",
    "Fan out and gather",
    "Trying again after a serialization failure",
    "A nightly script as steps",
    "An outbox that tells when it has delivered",
    "One import per customer at a time",
    "A backfill in pieces that survives restarts",
)


@dataclass(frozen=True)
class Block:
    """SQL of a recipe, and what psql prints for it."""

    sql: str
    output: str
    eventually: bool


def recipes() -> dict[str, list[Block]]:
    """The blocks of each recipe; those before the first one stand under an empty name."""
    parts = _RECIPE.split(DOCUMENT.read_text())
    return {
        name: list(_blocks(text)) for name, text in zip(["", *parts[1::2]], parts[::2], strict=True)
    }


def _blocks(text: str) -> list[Block]:
    blocks: list[Block] = []
    for kind, body in _BLOCK.findall(text):
        if kind == "text":
            blocks[-1] = Block(blocks[-1].sql, body, blocks[-1].eventually)
        else:
            blocks.append(Block(body, "", kind.endswith("eventually")))
    return blocks


def _tidy(output: str) -> str:
    """Without the blanks and empty lines around what psql prints."""
    return "\n".join(line.rstrip() for line in output.splitlines()).strip()


class Psql:
    """Plays blocks of SQL, each in a session of its own, of a plain role."""

    def __init__(self, database: Database, user: str) -> None:
        self._command = [find_psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-P", "footer=off"]
        self._command += ["-d", database.server.dsn(database.name, user, password=user)]
        self.printed = ""

    def prints(self, block: Block, setup: str) -> bool:
        """Tell whether a block prints what the document shows, at once or in a moment."""
        expected = _tidy(block.output)

        def printed() -> bool:
            self.printed = self._play(setup + block.sql)
            return self.printed == expected

        return eventually(printed) if block.eventually else printed()

    def _play(self, sql: str) -> str:
        quiet = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
        run = subprocess.run(
            self._command, input=sql, env=quiet, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        return _tidy(run.stdout)


@pytest.fixture(scope="module")
def book() -> dict[str, list[Block]]:
    return recipes()


def test_the_recipes_that_are_promised_are_there(book: dict[str, list[Block]]) -> None:
    assert [name for name in book if name] == list(TOPICS)


def test_the_recipes_work_as_they_are_printed(
    db: Database, app: str, book: dict[str, list[Block]]
) -> None:
    psql = Psql(db, app)
    setup = book[""][0].sql
    listener = db.connect()
    listener.execute("listen accounts; listen outbox")
    for name, blocks in book.items():
        for block in blocks if name else []:
            assert psql.prints(block, setup), f"{name}:\n{psql.printed}"
    opened, delivered = listener.notifies(timeout=2)
    assert opened.payload == "account 2 is being opened"
    outcome = json.loads(delivered.payload)
    assert (outcome["label"], outcome["state"]) == ("purchase 1", "stopped")
