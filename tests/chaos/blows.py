"""What is done to the server at random moments while enqueued and scheduled work goes on."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter

import psycopg

from tests.fix_db import Database
from tests.fix_wait import eventually
from tests.integration.session import Session
from tools.local_server import LocalServer

# Ours, the clock among them; as pg_stat_activity shows them.
OURS = (
    "select pid from pg_stat_activity where datname = current_database()"
    " and application_name like 'pg\\_background%'"
)
CLOCK = (
    "select pid from pg_stat_activity where datname = current_database()"
    " and query = 'call pgbackground.keep_clock()'"
)


class Blows(threading.Thread):
    """Ends workers and the clock until told to stop; the last blow may be a crash of the whole server.

    fatal: how likely a round ends in a crash, by SIGKILL of a worker or an immediate shutdown.
    pause: the longest pause between two blows, in seconds.
    """

    def __init__(
        self, local: LocalServer, db: Database, chance: random.Random, fatal: float, pause: float
    ) -> None:
        super().__init__()
        self.local = local
        self.admin = Session(db.connect())
        self.chance = chance
        self.pause = pause
        self.fatal = chance.random() < fatal
        self.quiet = threading.Event()
        self.dealt: Counter[str] = Counter()

    def run(self) -> None:
        """Deal blows, then the fatal one."""
        while not self.quiet.wait(self.chance.random() * self.pause):
            if self.chance.random() < 0.3:
                self._terminate("clock", CLOCK)
            else:
                self._terminate("worker", OURS)
        if self.fatal:
            self._crash()

    def _terminate(self, whom: str, query: str) -> None:
        pids = self.admin.rows(query)
        if pids:
            self.admin.execute("select pg_terminate_backend(%s)", [self.chance.choice(pids)[0]])
            self.dealt[f"{whom} terminated"] += 1

    def _crash(self) -> None:
        pids = self.admin.rows(OURS)
        if pids and self.chance.random() < 0.5:
            try:
                os.kill(self.chance.choice(pids)[0], signal.SIGKILL)
            except ProcessLookupError:
                return
            self.dealt["worker SIGKILLed"] += 1
            # The server ends all its sessions and starts anew.
            eventually(self._is_cut_off, 60)
        else:
            self.local.crash()
            self.dealt["immediate shutdown"] += 1

    def _is_cut_off(self) -> bool:
        try:
            self.admin.execute("select 1")
        except psycopg.OperationalError:
            return True
        return False


def recovered(local: LocalServer, db: Database, user: str | None = None) -> Session:
    """Start the server if it is down, and open a session as soon as it lets one in."""
    if not local.running:
        local.start()

    def again() -> Session | None:
        try:
            return Session(db.connect(user))
        except psycopg.OperationalError:
            return None

    session = eventually(again, 60)
    assert session is not None
    return session
