"""Build the servers that the tests run on as container images, without an image registry.

python3 tests/images/build.py [15 17 18]

Each image is the Debian release that carries the wanted PostgreSQL, made by debootstrap from the
mirror that this machine's apt uses. It is built again only when its recipe here or serve.sh
changed. Dockerfile makes the same servers for those who reach a registry.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

# A script finds only its own folder; tests import the same module by its full name.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.images import engine

REPOSITORY = "pg_background_plpy-test"
RECIPE = "pg_background_plpy.recipe"
HERE = Path(__file__).resolve().parent
SERVE = HERE / "serve.sh"
PGHOME = "/srv/postgresql"

# Not needed to run a server; paths in the root file system, as tar wants them.
LEFT_OUT = [
    *("./proc/*", "./sys/*", "./dev/*", "./tmp/*", "./debootstrap"),
    *("./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*"),
    *("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*"),
    # The cluster that Debian's package creates; serve.sh creates its own.
    *("./var/lib/postgresql/*", "./etc/postgresql/*"),
]


class BuildError(Exception):
    """An image cannot be built here; the message says why."""


@dataclass(frozen=True)
class Server:
    """What distinguishes the image of one major version."""

    major: int
    suite: str
    peers: list[str] = field(default_factory=list)

    @property
    def image(self) -> str:
        """Return the image's name and tag."""
        return f"{REPOSITORY}:{self.major}"

    @property
    def packages(self) -> list[str]:
        """Return the Debian packages of the server; dblink is part of the first one."""
        names = ["postgresql-{}", "postgresql-plpython3-{}", "postgresql-{}-pgtap"]
        names += ["postgresql-{}-cron", *self.peers]
        return [name.format(self.major) for name in names]

    @property
    def changes(self) -> list[str]:
        """Return what docker import sets in the image, in the words of a Dockerfile."""
        path = f"/usr/lib/postgresql/{self.major}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return [
            *("USER postgres", f"ENV PATH {path}", f"ENV PGDATA {PGHOME}/data"),
            *("ENV LANG C.UTF-8", f"VOLUME {PGHOME}", "EXPOSE 5432"),
            'ENTRYPOINT ["/usr/local/bin/serve.sh"]',
        ]

    def recipe(self) -> str:
        """Return a hash of everything that decides what the image holds."""
        parts = [asdict(self), self.packages, self.changes, LEFT_OUT, SERVE.read_text()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


SERVERS = {
    15: Server(15, "bookworm"),
    17: Server(17, "trixie"),
    18: Server(18, "forky", peers=["postgresql-{}-pg-background"]),
}


def build(server: Server, host: str) -> bool:
    """Build the image if it is not there or outdated; tell whether it was built."""
    recipe = server.recipe()
    if _recipe_of_image(server, host) == recipe:
        return False
    _require_programs()
    with tempfile.TemporaryDirectory(prefix="pgbg-image-", dir=_scratch()) as folder:
        root = Path(folder, "root")
        try:
            _bootstrap(server, root, Path(folder, "log"))
        finally:
            _unmount_below(root)
        _install_entry(root)
        _import(server, root, recipe, host)
    return True


def mirror() -> str:
    """Return the Debian mirror of this machine's apt.

    DEBIAN_MIRROR overrides it, for machines whose own apt serves another distribution.
    """
    if os.environ.get("DEBIAN_MIRROR"):
        return os.environ["DEBIAN_MIRROR"]
    own = _own_release()
    for line in _output("apt-get", "indextargets", "--no-release-info", *_TARGETS).splitlines():
        uri, _, release = line.partition(" ")
        if release == own.get("VERSION_CODENAME"):
            return uri
    raise BuildError("apt has no mirror of this machine's release; name one in DEBIAN_MIRROR")


_TARGETS = ["--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages", "Component: main"]


def _own_release() -> dict[str, str]:
    text = Path("/etc/os-release").read_text()
    release = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if release.get("ID") != "debian":
        raise BuildError("this machine is not a Debian; name a Debian mirror in DEBIAN_MIRROR")
    return release


def _bootstrap(server: Server, root: Path, log: Path) -> None:
    """Install the server's packages and what they need into an empty folder."""
    command = ["debootstrap", "--variant=minbase", "--force-check-gpg"]
    command += ["--include=" + ",".join(server.packages), server.suite, str(root), mirror()]
    scripts = Path("/usr/share/debootstrap/scripts")
    if not (scripts / server.suite).exists():
        # An older debootstrap does not know the names of newer releases, which differ in nothing
        # that its script decides.
        command.append(str(scripts / "sid"))
    with log.open("w") as output:
        done = subprocess.run(command, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()[-15:]
        raise BuildError(f"debootstrap fails for {server.image}:\n" + "\n".join(lines))


def _unmount_below(root: Path) -> None:
    """Take away what debootstrap has mounted there and could not unmount, because something was still busy in it."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(f"{root}/"):
            subprocess.run(["umount", "--lazy", point], check=True)


def _install_entry(root: Path) -> None:
    """Put serve.sh in place, and an open folder for the data.

    The folder is open to all, as the tmpfs is that may be mounted over it.
    """
    entry = root / "usr/local/bin/serve.sh"
    shutil.copyfile(SERVE, entry)
    entry.chmod(0o755)
    data = root / PGHOME.lstrip("/")
    data.mkdir()
    data.chmod(0o1777)
    sockets = root / "var/run/postgresql"
    sockets.mkdir(exist_ok=True)
    sockets.chmod(0o1777)


def _import(server: Server, root: Path, recipe: str, host: str) -> None:
    """Hand the root file system to the engine as an image of one layer."""
    packing = ["tar", "--create", "--numeric-owner", "--directory", str(root)]
    packing += [f"--exclude={path}" for path in LEFT_OUT]
    loading = ["docker", "--host", host, "import"]
    for change in [*server.changes, f"LABEL {RECIPE}={recipe}"]:
        loading += ["--change", change]
    with subprocess.Popen([*packing, "."], stdout=subprocess.PIPE) as tar:
        loaded = subprocess.run(
            [*loading, "-", server.image], stdin=tar.stdout, stdout=subprocess.DEVNULL, check=False
        )
    if tar.returncode != 0 or loaded.returncode != 0:
        raise BuildError(f"docker import fails for {server.image}")


def _recipe_of_image(server: Server, host: str) -> str | None:
    """Return the hash of the recipe that the present image was built from."""
    form = '{{index .Config.Labels "' + RECIPE + '"}}'
    command = ["docker", "--host", host, "image", "inspect", "--format", form, server.image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _scratch() -> Path:
    """Return a folder for half a gigabyte; /tmp is often in memory, and may forbid devices."""
    folder = HERE.parents[1] / "build"
    folder.mkdir(exist_ok=True)
    return folder


def _require_programs() -> None:
    missing = [name for name in ("debootstrap", "tar", "apt-get") if not shutil.which(name)]
    if missing:
        raise BuildError("missing programs: " + " ".join(missing))
    if os.geteuid() != 0:
        raise BuildError("debootstrap needs root")


def _majors() -> str:
    return ", ".join(str(major) for major in SERVERS)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Build the images named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Build the images of the test servers.")
    parser.add_argument("major", nargs="*", type=int, help="default: " + _majors())
    majors = parser.parse_args().major or list(SERVERS)
    if not SERVERS.keys() >= set(majors):
        parser.error("there are recipes for " + _majors())
    with engine.available() as host:
        for major in majors:
            built = build(SERVERS[major], host)
            print(f"{SERVERS[major].image} {'built' if built else 'is up to date'}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (BuildError, engine.EngineError) as error:
        sys.exit(f"build: {error}")
