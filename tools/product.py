"""Put the product, as `make dist` builds it, into a database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.local_server import ServerError, find_bin

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = "background"
EXTENSION = "pg_background_plpy"


class InstallError(Exception):
    """The product could not be built or installed; the message is the program's own."""


def build(folder: Path, schema: str = SCHEMA) -> Path:
    """Write the files of `make dist` into a folder, and return the path of install.sql."""
    bundle = ROOT / "plpy" / "bundle.py"
    command = [sys.executable, str(bundle), "--schema", schema, "--out", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise InstallError(f"plpy/bundle.py failed\n{run.stdout}{run.stderr}")
    return folder / "install.sql"


def install(dsn: str, schema: str = SCHEMA) -> None:
    """Build the product for a schema and install it, as a user would, into a database."""
    with tempfile.TemporaryDirectory(prefix="pg_background-") as folder:
        run_sql_file(dsn, build(Path(folder), schema))


def run_sql_file(dsn: str, file: Path) -> None:
    """Run a file of SQL through psql, stopping at the first error."""
    psql = find_psql()
    command = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", str(file)]
    quiet = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
    run = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if run.returncode:
        raise InstallError(f"psql could not run {file.name}\n{run.stdout}{run.stderr}")


def find_psql() -> str:
    """Return psql of the server's own version where it is local, else the one on PATH."""
    try:
        local = find_bin() / "psql"
    except ServerError:
        local = None
    if local and local.exists():
        return str(local)
    found = shutil.which("psql")
    if found is None:
        raise InstallError("no psql found: run `tools/setup server`")
    return found
