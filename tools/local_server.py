#!/usr/bin/env python3
"""Throw-away PostgreSQL servers of this machine's own binaries, for tests, demo and benchmarks.

python3 tools/local_server.py start DIR [--durable] [--set NAME=VALUE ...]
python3 tools/local_server.py psql DIR [DATABASE]     prints the psql line
python3 tools/local_server.py stop DIR [--keep]

Nothing of it touches a server that is there already: own data folder, Unix socket only, trust login
for whoever can enter the socket's folder (its owner and root).
"""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Union

Setting = Union[str, int, float, bool]

OLDEST_MAJOR = 15
SUPERUSER = "postgres"
PORT = 5432
# sun_path holds 107 bytes; the socket's file name takes 15 and ".lock" 5 of them
LONGEST_SOCKET_FOLDER = 87
# Both are open to all; mkdtemp makes a folder there that is not.
DISK = "/tmp"  # noqa: S108
MEMORY = "/dev/shm"  # noqa: S108
ROOM_IN_MEMORY = 4 << 30

ORDINARY: Mapping[str, Setting] = {
    "listen_addresses": "",
    "port": PORT,
    "max_connections": 100,
    "logging_collector": False,
    "log_line_prefix": "%m [%p] %u@%d %a ",
}
# What makes tests quick, and a crash of the machine unsafe. A crash of the server's processes stays
# safe: what was committed is with the kernel, because synchronous_commit is on.
CARELESS: Mapping[str, Setting] = {"fsync": False, "full_page_writes": False}


class ServerError(Exception):
    """A server could not be made, started or stopped; the message says why and what to do."""


def find_bin() -> Path:
    """Return the folder of PostgreSQL's programs: $PG_BIN, the newest with PL/Python, or PATH's."""
    chosen = os.environ.get("PG_BIN")
    if chosen:
        if not (Path(chosen) / "initdb").exists():
            raise ServerError(f"PG_BIN={chosen}: no initdb there")
        return Path(chosen)
    found = [
        (int(root.name.replace("pgsql-", "")), root / "bin")
        for pattern in ("lib/postgresql/[1-9]*", "pgsql-[1-9]*")
        for root in Path("/usr").glob(pattern)
        if root.name.replace("pgsql-", "").isdigit()
        and (root / "bin/initdb").exists()
        and (root / "lib/plpython3.so").exists()
    ]
    if found and max(found)[0] >= OLDEST_MAJOR:
        return max(found)[1]
    if shutil.which("pg_config"):
        run = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        folder = Path(run.stdout.strip())
        if run.returncode == 0 and (folder / "initdb").exists():
            return folder
    raise ServerError(
        f"no PostgreSQL >= {OLDEST_MAJOR} with PL/Python found: run `tools/setup server`,"
        " or name the folder of initdb in PG_BIN"
    )


def server_owner() -> pwd.struct_passwd | None:
    """Return whom a server runs as when we are root, whom initdb refuses; else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _conninfo_value(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return escaped if escaped and " " not in escaped else f"'{escaped}'"


def _configuration_line(name: str, value: Setting) -> str:
    text = ("on" if value else "off") if isinstance(value, bool) else str(value)
    return "{} = '{}'\n".format(name, text.replace("'", "''"))


class LocalServer:
    """One throw-away server; a context manager that starts and stops it.

    folder:   where it lives; none: a new folder in /tmp.
    settings: server parameters, over the ones of this module.
    durable:  keep fsync on, for crash tests and benchmarks.
    keep:     leave the data on disk when it stops.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        settings: Mapping[str, Setting] | None = None,
        durable: bool = False,
        keep: bool = False,
    ) -> None:
        self.folder = folder.absolute() if folder else None
        self.settings = {**ORDINARY, **({} if durable else CARELESS), **(settings or {})}
        self.keep = keep
        self.bin = find_bin()
        self._owner = server_owner()
        # The cluster proper: data, log and socket, all the server's owner's. A link to elsewhere
        # where he cannot reach the folder (a checkout below /root), or its path is too long.
        self._link = self.folder / "cluster" if self.folder else None
        self._home: Path | None = None
        if self._link and self._link.exists():
            self._home = self._link.resolve()

    def __enter__(self) -> LocalServer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def home(self) -> Path:
        """The folder of data, log and socket; known after the first start."""
        if self._home is None:
            raise ServerError(f"no server in {self.folder or 'a folder yet'}: start it first")
        return self._home

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.home / "log"

    @property
    def socket(self) -> Path:
        """The folder of the Unix socket."""
        return self.home / "socket"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except FileNotFoundError:
            raise ServerError(f"no server runs in {self.home}") from None

    @property
    def running(self) -> bool:
        """Whether the postmaster lives; one that was killed leaves its pid file behind."""
        try:
            pid = self.pid
            os.kill(pid, 0)
        except (ServerError, ProcessLookupError):
            return False
        # dead as well, where init is slow to collect it: a zombie, state Z in Linux's /proc
        status = Path(f"/proc/{pid}/stat")
        return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")

    def dsn(self, dbname: str = "postgres", user: str = SUPERUSER) -> str:
        """Return a connection string for a database of this server."""
        parts = {"host": str(self.socket), "port": str(PORT), "user": user, "dbname": dbname}
        return " ".join(f"{key}={_conninfo_value(value)}" for key, value in parts.items())

    def psql_line(self, dbname: str = "postgres") -> str:
        """Return the shell command that opens psql on a database of this server."""
        psql = [str(self.bin / "psql"), "-h", str(self.socket), "-U", SUPERUSER, dbname]
        return shlex.join(psql)

    def start(self) -> None:
        """Make the cluster if there is none, and return when it answers."""
        if self._home is None:
            self._make_home()
        if not (self.data / "PG_VERSION").exists():
            self._run(
                "initdb",
                *("--pgdata", str(self.data), "--username", SUPERUSER, "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            )
            with (self.data / "postgresql.conf").open("a") as configuration:
                configuration.write("include 'local_server.conf'\n")
        self._configure()
        try:
            self._pg_ctl("start", "--log", str(self.log), "--timeout", "60")
        except ServerError as error:
            tail = self.log.read_text(errors="replace").splitlines()[-15:]
            raise ServerError("\n".join([str(error), *tail])) from None

    def stop(self) -> None:
        """End the server, its sessions with it, and remove it unless it is to be kept."""
        if self._home is None:
            return
        if self.running:
            try:
                self._pg_ctl("stop", "--mode", "fast", "--timeout", "20")
            except ServerError:
                self._pg_ctl("stop", "--mode", "immediate", "--timeout", "20")
        if not self.keep:
            self._remove()

    def crash(self) -> None:
        """Stop as a power cut does to processes: no checkpoint, nobody told; start() recovers."""
        self._pg_ctl("stop", "--mode", "immediate", "--timeout", "60")

    def restart(self) -> None:
        """Start again with the same data, also after crash(); the connection string stays."""
        if self.running:
            self._pg_ctl("stop", "--mode", "fast", "--timeout", "60")
        self.start()

    def _make_home(self) -> None:
        if self._link:
            self._link.parent.mkdir(parents=True, exist_ok=True)
            self._link.mkdir(mode=0o700)
            self._give_away(self._link)
            if self._usable(self._link):
                self._home = self._link
                return
            self._link.rmdir()
        # not $TMPDIR: it may be out of the owner's reach or too long as well
        self._home = Path(tempfile.mkdtemp(prefix="pg_background-", dir=self._base()))
        self._give_away(self._home)
        if self._link:
            self._link.symlink_to(self._home)

    def _base(self) -> str:
        """Memory for a server that nobody keeps: ext4 makes hundreds of files slowly after hundreds were removed."""
        throw_away = not (self.keep or self.folder or self.settings.get("fsync", True))
        roomy = os.path.ismount(MEMORY) and shutil.disk_usage(MEMORY).free > ROOM_IN_MEMORY
        return MEMORY if throw_away and roomy and os.access(MEMORY, os.W_OK) else DISK

    def _give_away(self, folder: Path) -> None:
        if self._owner:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)

    def _usable(self, folder: Path) -> bool:
        if len(os.fsencode(folder / "socket")) > LONGEST_SOCKET_FOLDER:
            return False
        probe = f"cd {shlex.quote(str(folder))} && test -w ."
        return self._as_owner(["/bin/sh", "-c", probe]).returncode == 0

    def _configure(self) -> None:
        if not self.socket.exists():
            self.socket.mkdir(mode=0o700)
            self._give_away(self.socket)
        settings = {**self.settings, "unix_socket_directories": str(self.socket)}
        configuration = self.data / "local_server.conf"
        lines = [_configuration_line(name, value) for name, value in settings.items()]
        configuration.write_text("".join(lines))
        self._give_away(configuration)

    def _remove(self) -> None:
        shutil.rmtree(self.home)
        if self._link:
            if self._link.is_symlink():
                self._link.unlink()
            if not any(self._link.parent.iterdir()):
                self._link.parent.rmdir()
        self._home = None

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self._run("pg_ctl", action, "--pgdata", str(self.data), "--wait", "--silent", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        run = self._as_owner([str(self.bin / program), *arguments])
        if run.returncode:
            raise ServerError(f"{shlex.join(run.args)}\n{run.stdout}{run.stderr}".rstrip())

    def _as_owner(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        # The server gets no variable of ours: PG* would change its configuration, PYTHON* and a
        # virtual environment the interpreter inside it.
        environment = {"PATH": os.defpath}
        owner = self._owner
        return subprocess.run(
            command,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=VALUE")
    return name, value


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, stop or describe the server of a folder."""
    parser = argparse.ArgumentParser(description="A throw-away PostgreSQL server in a folder.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="make the server if there is none, and start it")
    start.add_argument("--durable", action="store_true", help="keep fsync on")
    start.add_argument("--set", action="append", type=_setting, default=[], metavar="NAME=VALUE")
    stop = verbs.add_parser("stop", help="stop the server and remove its data")
    stop.add_argument("--keep", action="store_true", help="leave the data on disk")
    psql = verbs.add_parser("psql", help="print the psql line")
    for verb in (start, stop, psql):
        verb.add_argument("dir", type=Path)
    psql.add_argument("database", nargs="?", default="postgres")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "start":
            server = LocalServer(options.dir, settings=dict(options.set), durable=options.durable)
            server.start()
            print(server.psql_line())
        elif options.verb == "stop":
            server = LocalServer(options.dir, keep=options.keep)
            _ = server.home
            server.stop()
        else:
            print(LocalServer(options.dir).psql_line(options.database))
    except ServerError as error:
        print(f"local_server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
