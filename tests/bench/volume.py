"""Many rows: the time to read them, and the memory that it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg

from tests.bench.measure import in_turns
from tests.bench.peers import Peer
from tests.bench.place import Place
from tests.bench.report import Row, row

FETCH = 10_000
LOOK_SECONDS = 0.05


def measure(place: Place) -> Iterator[Row]:
    """Measure reading in turns, then memory peer by peer."""
    yield _read(place)
    yield from _memory(place)


def _read(place: Place) -> Row:
    rows = place.effort.rows
    with place.connect() as session:

        def timed(peer: Peer) -> Any:
            def call() -> float:
                query = f"select bench.{peer.word}_read({rows})"
                return place.number(session, query) / 1000

            return call

        actions = {peer.name: timed(peer) for peer in place.peers.present}
        samples = in_turns(actions, place.effort.slow, 1)
    what = f"{rows:,} rows (int, text): launch to last row read"
    return row(what, "s", samples, must="4x", goal="1x")


class Watch:
    """Looks at the memory of a process again and again, in a session of its own."""

    def __init__(self, place: Place, pid: int) -> None:
        self._session = place.connect()
        self._place = place
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.before = self._look()
        self.most = self.before

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._session.close()

    def _look(self) -> float:
        return self._place.number(self._session, f"select bench.memory({self._pid})")

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.most = max(self.most, self._look())


def _memory(place: Place) -> Iterator[Row]:
    """Watch a worker that makes the rows, then the launcher that fetches them by cursor."""
    rows = place.effort.rows_of_memory
    worker: dict[str, list[float]] = {}
    launcher: dict[str, list[float]] = {}
    for peer in place.peers.with_verbs():
        with place.connect() as session:
            made, read = _watched(place, session, peer, rows)
            worker[peer.name], launcher[peer.name] = [made], [read]
    yield row(
        f"worker's memory for {rows:,} rows, over idle",
        "MB",
        worker,
        must="100 MB",
        goal="30 MB",
        notes=["the most that was seen, looking every 50 ms; a worker of the C extension is new"],
    )
    yield row(
        f"launcher's memory reading {rows:,} rows by cursor, over idle",
        "MB",
        launcher,
        must="100 MB",
        goal="100 MB",
    )


def _watched(
    place: Place, session: psycopg.Connection[Any], peer: Peer, rows: int
) -> tuple[float, float]:
    """Return by how many MB the worker grew, and the launcher. Idle: after the same with one row."""
    verb = f"{peer.schema}.pg_background"
    session.execute(f"select bench.{peer.word}_read(1)")
    with Watch(place, session.info.backend_pid) as launcher:
        pid, cookie = session.execute(
            f"select pid, cookie from {verb}_launch(bench.wide({rows}))"
        ).fetchone() or (0, 0)
        with Watch(place, pid) as worker, session.transaction():
            session.execute(
                f"declare c no scroll cursor for select * from {verb}_result({pid}, {cookie})"
                " as r (i int, t text)"
            )
            while session.execute(f"fetch {FETCH} from c").rowcount:
                pass
    return worker.most - worker.before, launcher.most - launcher.before
