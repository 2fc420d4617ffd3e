"""Servers in containers, for the tests: one context manager around testcontainers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg

# testcontainers reads these when it is imported. Its helper image comes from a registry, and
# containers are removed here anyway; and the published port is the way to the server even where
# this machine looks like a container itself.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")

from testcontainers.core.container import DockerContainer

REPOSITORY = "pg_background_plpy-test"
DATA = "/srv/postgresql"
PORT = "5432/tcp"
READY_SECONDS = 60.0
PAUSE_SECONDS = 0.05


class ImageMissingError(Exception):
    """The engine does not have the image; no registry has it either."""


class NotReadyError(Exception):
    """A container was started, but its server ended or does not answer in time."""


@contextmanager
def running(major: int, *, durable: bool = False) -> Iterator[str]:
    """Run a server of this major version; yield the DSN of its superuser.

    With durable, what is committed is on disk (fsync, no tmpfs), as crash tests and measurements
    need it; without, the server gives up safety for speed. DOCKER_HOST names the engine.
    """
    container = _container(major, durable=durable)
    _require_image(container)
    with container:
        port = container.get_exposed_port(5432)
        dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        _wait_until_ready(dsn, container)
        yield dsn


def _container(major: int, *, durable: bool) -> DockerContainer:
    """Describe the container; parallel queries want more shared memory than the usual 64 MB."""
    container = DockerContainer(f"{REPOSITORY}:{major}", shm_size="1g", stop_signal="SIGINT")
    # An address in place of a port number is what the engine's client takes, but the annotation
    # of testcontainers does not know it.
    cast("dict[str, Any]", container.ports)[PORT] = ("127.0.0.1",)
    if not durable:
        container.with_tmpfs_mount(DATA)
        container.with_command(["-c", "fsync=off"])
    return container


def _require_image(container: DockerContainer) -> None:
    """Say what to do about a missing image, rather than ask a registry for it."""
    if not container.get_docker_client().client.images.list(name=container.image):
        hint = "build it with: python3 tests/images/build.py"
        raise ImageMissingError(f"{container.image} is missing; {hint}")


def _wait_until_ready(dsn: str, container: DockerContainer) -> None:
    """Connect over TCP until it works; the server that initdb runs first has no TCP port."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline or not _runs(container):
                raise NotReadyError(f"{error}\n{_log(container)}") from error
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _runs(container: DockerContainer) -> bool:
    """Ask the engine whether the container still runs."""
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    return bool(wrapped.status == "running")


def _log(container: DockerContainer) -> str:
    """Return the end of what the server wrote to stderr."""
    return container.get_logs()[1].decode(errors="replace")[-2000:]
