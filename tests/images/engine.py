"""A container engine for the tests, on machines where none is running.

python3 tests/images/engine.py start    prints DOCKER_HOST=... of an engine that answers
python3 tests/images/engine.py stop     stops the engine that start started, and no other
python3 tests/images/engine.py status   says which engine answers, if one does

An engine that is there already (DOCKER_HOST, the machine's own, or one that an earlier `start`
left running) is used as it is. Only when none answers is a private dockerd started. It has its own
data, sockets and bridge, publishes on loopback only, and changes neither the host's firewall nor
its forwarding. `stop` removes all of it but the images, which are products of the build and stay
in the engine's folder; `stop --purge` removes these as well.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "engine"
MACHINES_OWN = "unix:///var/run/docker.sock"
# Folders that every dockerd of a machine makes, whatever it is told; the inner ones first.
SHARED = ["/run/containerd/s", "/run/containerd", "/run/docker/plugins", "/run/docker"]
START_SECONDS = 60
STOP_SECONDS = 60


class EngineError(Exception):
    """No engine can be had here; the message says what is missing."""


@dataclass(frozen=True)
class Engine:
    """Where a private engine keeps its things.

    Sockets live under /run, because their paths are limited to 107 bytes and a checkout may lie
    deep. The name is derived from the folder, so that each checkout has one engine and finds it
    again from any process.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the run folder and of the bridge; interface names end at 15 characters."""
        return "pgbg" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def run(self) -> Path:
        """Return the folder of sockets and pid file."""
        return Path("/run") / self.name

    @property
    def bridge(self) -> Path:
        """Return the kernel's folder of the bridge, there as long as the bridge is."""
        return Path("/sys/class/net", self.name)

    @property
    def pidfile(self) -> Path:
        """Return the file that holds the pid of the private dockerd."""
        return self.run / "dockerd.pid"

    @property
    def host(self) -> str:
        """Return the value of DOCKER_HOST that reaches the private engine."""
        return f"unix://{self.run}/docker.sock"

    @property
    def log(self) -> Path:
        """Return the file that dockerd writes its messages to."""
        return self.folder / "dockerd.log"

    def command(self) -> list[str]:
        """Return the command line of the private dockerd."""
        return [
            *("dockerd", "--host", self.host, "--pidfile", str(self.pidfile)),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.run / "exec")),
            *("--bridge", self.name, "--ip=127.0.0.1", "--iptables=false", "--ip6tables=false"),
            *("--ip-forward=false", "--ip-masq=false"),
        ]

    def pid(self) -> int | None:
        """Return the pid of our running dockerd, or None.

        The pid of a dead engine may have been given to another process, therefore the command
        line has to name our socket.
        """
        try:
            pid = int(self.pidfile.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if self.host.encode() in arguments else None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time start or stop the engine."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def answers(host: str) -> bool:
    """Tell whether an engine answers at this address."""
    if shutil.which("docker") is None:
        return False
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        return False
    return _docker(host, "version").returncode == 0


def find(engine: Engine) -> str | None:
    """Return the address of an engine that answers, or None; DOCKER_HOST is binding if set."""
    chosen = os.environ.get("DOCKER_HOST")
    if chosen:
        if not answers(chosen):
            raise EngineError(f"DOCKER_HOST is {chosen}, and no engine answers there")
        return chosen
    return next((host for host in (engine.host, MACHINES_OWN) if answers(host)), None)


def start(engine: Engine) -> tuple[str, bool]:
    """Return the address of an engine, and whether this call started it."""
    with engine.locked():
        host = find(engine)
        if host:
            return host, False
        _require_programs()
        _sweep(engine)
        _launch(engine)
        return engine.host, True


def stop(engine: Engine, *, purge: bool = False) -> bool:
    """Stop the private engine with all its containers; tell whether there was one to stop."""
    with engine.locked():
        found = engine.pid() is not None
        if found:
            _remove_containers(engine)
        _halt(engine)
        if purge:
            shutil.rmtree(engine.folder)
        return found


@contextlib.contextmanager
def available(folder: Path = FOLDER) -> Iterator[str]:
    """Yield the address of an engine; stop it at the end if it was started for this."""
    engine = Engine(folder)
    host, started = start(engine)
    try:
        yield host
    finally:
        if started:
            stop(engine)


def _docker(host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "--host", host, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _require_programs() -> None:
    if os.geteuid() != 0:
        raise EngineError("no container engine answers, and starting one needs root")
    missing = [name for name in ("docker", "dockerd", "containerd", "ip") if not shutil.which(name)]
    if missing:
        raise EngineError("no container engine answers; missing to start one: " + " ".join(missing))


def _launch(engine: Engine) -> None:
    """Give dockerd its run folder and its bridge, and start it."""
    engine.run.mkdir(mode=0o700)
    try:
        subprocess.run(["ip", "link", "add", "name", engine.name, "type", "bridge"], check=True)
        ready = _run_dockerd(engine) and answers(engine.host)
    except BaseException:
        _halt(engine)
        raise
    if not ready:
        _halt(engine)
        raise EngineError(f"dockerd does not come up:\n{_last_lines(engine.log)}")


def _run_dockerd(engine: Engine) -> bool:
    """Start dockerd in the background; tell whether it became ready."""
    notify = engine.run / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, engine.log.open("w") as log:
        notices.bind(str(notify))
        process = subprocess.Popen(
            engine.command(),
            env=os.environ | {"NOTIFY_SOCKET": str(notify)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        return _says_ready(notices, process.pid)


def _says_ready(notices: socket.socket, pid: int) -> bool:
    """Wait for dockerd's notice to its service manager, which we play here, or for its end."""
    ended = os.pidfd_open(pid)
    try:
        readable, _, _ = select.select([notices.fileno(), ended], [], [], START_SECONDS)
        return notices.fileno() in readable and b"READY=1" in notices.recv(4096)
    finally:
        os.close(ended)


def _halt(engine: Engine) -> None:
    """Stop our dockerd if it runs, and remove what it leaves."""
    pid = engine.pid()
    if pid is not None:
        _terminate(pid, engine)
    _sweep(engine)


def _sweep(engine: Engine) -> None:
    """Remove everything of an engine that no longer runs, also of one that was killed.

    A killed dockerd leaves its containers running and its folders mounted, and a new one on the
    same folders fails over them.
    """
    for pid in _left_running(engine):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for address in engine.run.rglob("address"):
        # Where a shim of containerd listens; one that ends by itself removes its socket.
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
    for mount in _left_mounted(engine):
        subprocess.run(["umount", "--lazy", mount], check=True)
    if engine.bridge.exists():
        subprocess.run(["ip", "link", "delete", engine.name], check=True)
    if engine.run.exists():
        shutil.rmtree(engine.run)
    for shared in SHARED:
        # One that is not empty is in use by another engine.
        with contextlib.suppress(OSError):
            Path(shared).rmdir()


def _left_running(engine: Engine) -> list[int]:
    """Return the pids of the helpers of a killed dockerd, and first those of their children.

    The children are the first processes of containers; all others in there end with them.
    """
    parents: dict[int, int] = {}
    helpers: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The fields after the command's name, which may hold blanks: state, parent, ...
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if _is_helper((folder / "cmdline").read_bytes(), engine):
                helpers.add(int(folder.name))
    children = [pid for pid, parent in parents.items() if parent in helpers - {pid}]
    return [*children, *helpers]


def _is_helper(command: bytes, engine: Engine) -> bool:
    """Recognize containerd and its shims by their program and by the run folder they are given."""
    program, *arguments = command.split(b"\0")
    known = Path(os.fsdecode(program)).name.startswith("containerd")
    return known and any(value.startswith(os.fsencode(engine.run) + b"/") for value in arguments)


def _left_mounted(engine: Engine) -> list[str]:
    """Return what is mounted in the engine's folders, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [_unescaped(line.split()[4]) for line in lines]
    ours = (f"{engine.run}/", f"{engine.folder}/")
    return sorted((point for point in points if point.startswith(ours)), reverse=True)


def _unescaped(path: str) -> str:
    """Undo how the kernel writes blanks and the like in mountinfo, in octal."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def _terminate(pid: int, engine: Engine) -> None:
    """Ask dockerd to end, and return when it has; it unmounts what it mounted."""
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], STOP_SECONDS)[0]:
            raise EngineError(f"dockerd (pid {pid}) does not stop; its log is {engine.log}")
    finally:
        os.close(process)


def _remove_containers(engine: Engine) -> None:
    containers = _docker(engine.host, "ps", "--all", "--quiet").stdout.split()
    if containers:
        _docker(engine.host, "rm", "--force", "--volumes", *containers)


def _last_lines(log: Path, count: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A container engine for the tests.")
    parser.add_argument("action", choices=["start", "stop", "status"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: build/engine")
    parser.add_argument("--purge", action="store_true", help="stop: remove the images, too")
    return parser.parse_args()


def main() -> int:
    """Run one action of the command line; status is 1 where no engine answers."""
    arguments = _arguments()
    engine = Engine(arguments.folder.resolve())
    if arguments.action == "start":
        print(f"DOCKER_HOST={start(engine)[0]}")
        return 0
    if arguments.action == "stop":
        stopped = stop(engine, purge=arguments.purge)
        print("stopped" if stopped else "no engine of ours is running")
        return 0
    host = find(engine)
    print(f"DOCKER_HOST={host}" if host else "no engine answers")
    return 0 if host else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EngineError as error:
        sys.exit(f"engine: {error}")
