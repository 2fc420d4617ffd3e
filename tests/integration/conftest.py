"""Sessions that speak the product's verbs; `launcher` and `observer` belong to one plain role."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fix_db import Database, Roles, unique_name
from tests.integration.session import Session
from tools.local_server import find_bin
from tools.product import build
from tools.servers import Server

EXTENSION = "pg_background_plpy"


@pytest.fixture
def admin(db: Database) -> Session:
    """Give a session of the superuser."""
    return Session(db.connect(application_name="admin"))


@pytest.fixture
def app(roles: Roles, admin: Session) -> str:
    """Give a plain login role that may use the product and make tables in schema public."""
    name = roles.create("app")
    admin.execute(f"grant create, usage on schema public to {name}")
    admin.execute(f"grant create on database {admin.connection.info.dbname} to {name}")
    return name


@pytest.fixture
def connect(db: Database, app: str) -> Callable[..., Session]:
    """Give a function that opens sessions, of the plain role unless told otherwise."""

    def opened(user: str | None = app, **parameters: Any) -> Session:
        return Session(db.connect(user, **parameters))

    return opened


@pytest.fixture
def launcher(connect: Callable[..., Session]) -> Iterator[Session]:
    """Give the session that launches jobs."""
    session = connect(application_name="launcher")
    yield session
    session.close()


@pytest.fixture
def observer(connect: Callable[..., Session]) -> Session:
    """Give another session of the same role, which has launched nothing."""
    return connect(application_name="observer")


@pytest.fixture
def bare(server: Server, roles: Roles) -> Iterator[str]:  # noqa: ARG001 (dropped after it)
    """Give the name of a database without the product."""
    with server.database(unique_name("bare")) as name:
        yield name


@pytest.fixture
def extension_folder(
    server: Server,
    tmp_path: Path,
    extension_folder_alone: None,  # noqa: ARG001
) -> Iterator[Path]:
    """Put the extension's files where the server looks for them, and take them away again."""
    if server.local is None:
        pytest.skip("CREATE EXTENSION needs files on the server's disk: only on a local server")
    program = find_bin() / "pg_config"
    run = subprocess.run([str(program), "--sharedir"], capture_output=True, text=True, check=True)
    folder = Path(run.stdout.strip()) / "extension"
    if not os.access(folder, os.W_OK):
        pytest.skip(f"CREATE EXTENSION needs files in {folder}, which this user may not write")
    if list(folder.glob(f"{EXTENSION}*")):
        pytest.skip(f"{folder} holds {EXTENSION} already: it is not ours to replace")
    build(tmp_path)
    copied = []
    try:
        for file in tmp_path.glob(f"{EXTENSION}*"):
            copied.append(folder / file.name)
            shutil.copyfile(file, copied[-1])
            copied[-1].chmod(0o644)
        yield tmp_path
    finally:
        for file in copied:
            file.unlink(missing_ok=True)
