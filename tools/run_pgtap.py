"""Run the pgTAP files of tests/sql through pg_prove, in a new database with the product in it.

python -m tools.run_pgtap [FILE ...]     all of tests/sql/*.sql, if none is named

A file whose name begins with "setup" or "_" is included by others and is no test of its own.
The server is the one that tools/servers.py chooses.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from tools.local_server import ServerError
from tools.product import ROOT, InstallError, find_psql, install
from tools.servers import Server, any_server, chosen

FOLDER = ROOT / "tests" / "sql"


def test_files(named: Sequence[str]) -> list[str]:
    """Return the paths, seen from the folder of the tests, of the named files or of all."""
    if named:
        return [os.path.relpath(Path(name).resolve(), FOLDER) for name in named]
    return [
        file.name
        for file in sorted(FOLDER.glob("*.sql"))
        if not file.name.startswith(("setup", "_"))
    ]


def connection_environment(dsn: str) -> dict[str, str]:
    """Return our environment with a connection string in libpq's variables.

    pg_prove takes the name of a database, and no connection string.
    """
    variables = {
        option.keyword.decode(): option.envvar.decode()
        for option in Conninfo.get_defaults()
        if option.envvar
    }
    parameters = conninfo_to_dict(dsn)
    named = {variables[key]: str(value) for key, value in parameters.items() if key in variables}
    return {**os.environ, **named}


def prove(server: Server, files: Sequence[str]) -> int:
    """Run pg_prove on a new database of a server, drop it, and return pg_prove's exit code."""
    with server.database(f"pg_background_pgtap_{os.getpid()}") as database:
        dsn = server.dsn(database)
        install(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create extension pgtap")
        command = ["pg_prove", "--psql-bin", find_psql(), *files]
        # `\i setup.sql` is found from the folder of the tests
        environment = connection_environment(dsn)
        return subprocess.run(command, cwd=FOLDER, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Run the named pgTAP files, or all."""
    files = test_files(arguments)
    if not files:
        print(f"run_pgtap: no tests in {FOLDER}", file=sys.stderr)
        return 1
    print(f"pgTAP: {len(files)} files on {chosen()}", flush=True)
    try:
        with any_server() as server:
            return prove(server, files)
    except (InstallError, ServerError) as error:
        print(f"run_pgtap: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
