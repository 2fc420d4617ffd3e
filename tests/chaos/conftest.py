"""Chaos: a durable server with room, a seed that can be given again, and counts that are printed.

PGBACKGROUND_SEED   the seed of an earlier run; printed in the header
PGBACKGROUND_SHORT  fewer rounds, for CI
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fix_db import Database, Roles
from tests.integration.session import Session
from tools.local_server import LocalServer
from tools.servers import Server, any_server

SEED = os.environ.get("PGBACKGROUND_SEED") or str(random.SystemRandom().randrange(10**9))
SHORT = bool(os.environ.get("PGBACKGROUND_SHORT"))
CONNECTIONS = 300
_counts: list[str] = []


def pytest_report_header() -> str:
    """Name the seed, so that a run can be repeated."""
    return f"seed: {SEED} (PGBACKGROUND_SEED)" + (", short form" if SHORT else "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted."""
    terminalreporter.section(f"counts, seed {SEED}")
    for line in _counts:
        terminalreporter.write_line(line)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Give the test's own random numbers, the same for the same seed."""
    return random.Random(f"{SEED} {request.node.name}")  # noqa: S311


@pytest.fixture
def rounds() -> Callable[[int, int], int]:
    """Give a function that chooses between the number of rounds of the short and the long form."""
    return lambda short, long: short if SHORT else long


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Give a function that prints a count at the end of the run."""
    return lambda line: _counts.append(f"{request.node.name}: {line}")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give a durable server; a local one has room for 50 launchers with their workers."""
    if os.environ.get("PGBACKGROUND_TEST_DSN") or os.environ.get("PGBACKGROUND_TEST_IMAGE"):
        with any_server(durable=True) as running:
            yield running
    else:
        with LocalServer(durable=True, settings={"max_connections": CONNECTIONS}) as local:
            yield Server(local.dsn(), local)


@pytest.fixture
def app(roles: Roles, db: Database) -> str:
    """Give a plain login role, and the table that jobs write to."""
    name = roles.create("app")
    with psycopg.connect(db.dsn, autocommit=True) as admin:
        admin.execute("create table public.t (n int8)")
        admin.execute(f"grant insert, select, update on public.t to {name}")
        admin.execute(f"grant create, usage on schema public to {name}")
    return name


@pytest.fixture
def connect(db: Database, app: str) -> Callable[..., Session]:
    """Give a function that opens sessions of the plain role; a name given is that login's."""
    return lambda user=app: Session(db.connect(user))


@pytest.fixture
def admin(db: Database) -> Session:
    """Give the superuser's session."""
    return Session(db.connect())
