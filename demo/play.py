"""The demonstration: a throw-away server, pgbench's tables, and the scenes of this folder.

python3 -m demo.play

KEEP=1    leaves the server running and prints the psql line
SCALE=10  is pgbench's scale factor: 100,000 accounts each
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from demo.show import play
from tools.local_server import LocalServer, ServerError
from tools.product import ROOT, InstallError, install, run_sql_file

FOLDER = ROOT / "demo"
SERVER = ROOT / "build" / "demo"
DATABASE = "demo"
# an ordinary role, which owns the database and its tables: nothing here needs a superuser
ROLE = "app"


def scenes() -> list[Path]:
    """Return the files of the scenes in their order."""
    return sorted(FOLDER.glob("[0-9]*.sql"))


def prepare(server: LocalServer, scale: int) -> str:
    """Make the database, install the product, load the data, and return the role's DSN."""
    run_sql_file(server.dsn(), FOLDER / "database.sql")
    install(server.dsn(DATABASE))
    print("The product is in it: one SQL file through psql, and no restart.", flush=True)
    run_sql_file(server.dsn(DATABASE), FOLDER / "role.sql")
    print('Role "app" may use it (grant pgbackground_role to app), and plays all that follows.')
    dsn = server.dsn(DATABASE, ROLE)
    load(server, dsn, scale)
    print(f"It has loaded pgbench's tables, with {scale * 100000:,} accounts.", flush=True)
    return dsn


def load(server: LocalServer, dsn: str, scale: int) -> None:
    """Make pgbench's tables: with pgbench where the server has it, else with SQL."""
    pgbench = server.bin / "pgbench"
    if not pgbench.exists():
        run_sql_file(f"{dsn} options='-c demo.scale={scale}'", FOLDER / "pgbench_tables.sql")
        return
    command = [str(pgbench), "--initialize", "--quiet", f"--scale={scale}", dsn]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise InstallError(f"pgbench failed\n{run.stdout}{run.stderr}")


def farewell(server: LocalServer) -> None:
    """Say how to go on with the server that was left running."""
    psql = [str(server.bin / "psql"), "-h", str(server.socket), "-U", ROLE, DATABASE]
    print("\nThe server goes on. Look around:")
    print(f"    {shlex.join(psql)}")
    print("and end it:")
    print(f"    tools/local_server.py stop {os.path.relpath(SERVER)}")


def demonstrate(server: LocalServer, scale: int) -> None:
    """Play everything, up to the first scene that fails."""
    server.start()
    print(f"A throw-away server runs in {os.path.relpath(SERVER)}.", flush=True)
    dsn = prepare(server, scale)
    for scene in scenes():
        if not play(dsn, scene):
            raise InstallError(f"{scene.name} failed")


def main() -> int:
    """Play the demonstration as the environment asks for it."""
    keep = bool(os.environ.get("KEEP"))
    done = False
    # so that the server is ended by whatever ends us
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # one that an earlier run was told to leave
        LocalServer(SERVER).stop()
        server = LocalServer(SERVER)
        try:
            demonstrate(server, int(os.environ.get("SCALE") or "10"))
            done = True
        finally:
            if not (done and keep):
                server.stop()
    except (InstallError, ServerError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if keep:
        farewell(server)
    else:
        print("\nThe server is gone again. `make demo KEEP=1` leaves it to you.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
