"""The server of a test session, and a template database with the product in it."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.product import install
from tools.servers import Server, any_server, chosen


def pytest_report_header() -> str:
    """Say where the tests run."""
    return f"server: {chosen()}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give the server that the environment chooses (tools/servers.py says how)."""
    with any_server() as running:
        yield running


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[str]:
    """Give the name of a database with the product installed, for databases of tests."""
    with server.database(f"pg_background_template_{os.getpid()}") as name:
        install(server.dsn(name))
        yield name


@pytest.fixture
def extension_folder_alone() -> Iterator[None]:
    """Keep other test sessions of this machine away from the folder of extensions, which all its servers share."""
    with (Path(tempfile.gettempdir()) / "pg_background_plpy-extension.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
