"""What an attacker sees and takes: the advisory locks of others, by what pg_locks shows to everybody."""

from __future__ import annotations

from tests.fix_wait import eventually
from tests.integration.session import Session

# Whoever reads this in a transaction sees the locks as they are now, not as they were.
OTHERS = """
    select distinct classid::int8, objid::int8, objsubid from pg_locks
     where locktype = 'advisory' and pid <> pg_backend_pid()
       and database = (select oid from pg_database where datname = current_database())
"""


def arguments(classid: int, objid: int, objsubid: int) -> str:
    """The arguments of pg_advisory_lock for a lock that pg_locks shows."""
    if objsubid == 1:
        number = (classid << 32) | objid
        return f"{number - (1 << 64) if number >= 1 << 63 else number}::int8"
    halves = [half - (1 << 32) if half >= 1 << 31 else half for half in (classid, objid)]
    return f"{halves[0]}::int4, {halves[1]}::int4"


def of_process(session: Session, pid: int) -> list[str]:
    """The keys of the advisory locks that a process holds or waits for."""
    return [arguments(*row) for row in session.rows(f"{OTHERS} and pid = {pid}")]


class Squatter:
    """A session that waits for a lock of somebody else's, and has it from the moment that it is free."""

    def __init__(self, session: Session, key: str) -> None:
        self.session = session
        self._pgconn = session.connection.pgconn
        self._pgconn.send_query(f"select pg_advisory_lock({key})".encode())

    def waits(self, watcher: Session) -> None:
        """Wait until it waits."""
        eventually(
            lambda: watcher.rows(
                "select from pg_locks where pid = %s and locktype = 'advisory' and not granted",
                [self.session.pid],
            )
        )
