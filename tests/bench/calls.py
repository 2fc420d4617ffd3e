"""The cost of single calls, in a warm session and in a new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from tests.bench.measure import in_turns
from tests.bench.peers import CRON, HERE, Peer
from tests.bench.place import Place
from tests.bench.report import Row, row

INSERT = "insert into bench.t values (1)"
IN_A_ROW = 100
SUBMITTED = 1000
PLACES = 16
PYTHON = "Python's own start"


def measure(place: Place) -> Iterator[Row]:
    """Measure them in one session that all peers share."""
    with place.connect() as session:
        yield from _launch_inside(place, session)
        yield from _launch_outside(place, session)
        yield _run(place, session)
        yield _one_after_the_other(place, session)
        yield _woken(place, session)
    # A session of its own: what a peer fails to finish takes places of its session.
    with place.connect() as session:
        yield _submit(place, session)
    yield _first(place)
    yield from _cron(place)


def _launch_inside(place: Place, session: psycopg.Connection[Any]) -> Iterator[Row]:
    """Launch and wait, timed by clock_timestamp() inside the session: three times of one call."""
    parts: dict[str, dict[str, list[float]]] = {"launch": {}, "waited": {}, "cycle": {}}

    def timed(peer: Peer) -> Callable[[], float]:
        def call() -> float:
            found = session.execute(f"select * from bench.{peer.word}_launch('select 1::text')")
            for part, value in zip(parts.values(), found.fetchone() or (), strict=True):
                part.setdefault(peer.name, []).append(value)
            return 0.0

        return call

    in_turns({peer.name: timed(peer) for peer in place.peers.present}, place.effort.quick, 0)
    warm = {
        part: {
            peer.name: of_peers[peer.name][len(of_peers[peer.name]) // 20 :]
            for peer in place.peers.present
            if peer.name in of_peers
        }
        for part, of_peers in parts.items()
    }
    yield row("launch(), warm [in the session]", "ms", warm["launch"], must="0.6x", goal="0.25x")
    yield row(
        "launch + wait, warm [in the session]", "ms", warm["waited"], must="0.3x", goal="0.15x"
    )
    yield row("launch + wait + detach, warm [in the session]", "ms", warm["cycle"])


def _launch_outside(place: Place, session: psycopg.Connection[Any]) -> Iterator[Row]:
    """Time launch and wait in a client, one query each: what an application sees."""
    launch: dict[str, list[float]] = {}

    def timed(peer: Peer) -> Callable[[], float]:
        verb = f"{peer.schema}.pg_background"

        def call() -> float:
            began = time.perf_counter()
            found = session.execute(f"select pid, cookie from {verb}_launch('select 1')")
            handle = found.fetchone()
            launched = time.perf_counter()
            session.execute(f"select {verb}_wait(%s, %s)", handle)
            ended = time.perf_counter()
            session.execute(f"select {verb}_detach(%s, %s)", handle)
            launch.setdefault(peer.name, []).append((launched - began) * 1000)
            return (ended - began) * 1000

        return call

    actions = {peer.name: timed(peer) for peer in place.peers.with_verbs()}
    both = in_turns(actions, place.effort.quick)
    launched = {name: values[-place.effort.quick :] for name, values in launch.items()}
    yield row("launch(), warm [from a client]", "ms", launched, must="0.6x", goal="0.25x")
    yield row("launch + wait, warm [from a client]", "ms", both, must="0.3x", goal="0.15x")


def _value(session: psycopg.Connection[Any], query: str) -> Callable[[], float]:
    def call() -> float:
        found = session.execute(query).fetchone()
        return float(found[0]) if found else 0.0

    return call


def _run(place: Place, session: psycopg.Connection[Any]) -> Row:
    actions = {
        peer.name: _value(session, f"select bench.{peer.word}_run('{INSERT}', 1)")
        for peer in place.peers.present
    }
    samples = in_turns(actions, place.effort.quick)
    return row(
        "run() of one INSERT, warm [in the session]", "ms", samples, must="0.4x", goal="0.2x"
    )


def _one_after_the_other(place: Place, session: psycopg.Connection[Any]) -> Row:
    actions = {
        peer.name: _value(session, f"select bench.{peer.word}_run('{INSERT}', {IN_A_ROW})")
        for peer in place.peers.present
    }
    times = in_turns(actions, place.effort.slow, 1)
    samples = {name: [IN_A_ROW * 1000 / ms for ms in values] for name, values in times.items()}
    what = f"autonomous INSERTs per second, one after the other, by {IN_A_ROW}"
    return row(what, "/s", samples, must="3.5x", goal="8x", more_is_better=True)


def _submit(place: Place, session: psycopg.Connection[Any]) -> Row:
    jobs = SUBMITTED // 20 if place.effort.short else SUBMITTED
    actions = {
        peer.name: _value(session, f"select bench.{peer.word}_submit('{INSERT}', {jobs}, {PLACES})")
        for peer in place.peers.with_verbs()
    }
    times = in_turns(actions, place.effort.slow, 1)
    samples = {name: [jobs * 1000 / ms for ms in values] for name, values in times.items()}
    note = f"{PLACES} at a time, the oldest is waited for and detached"
    return row(
        f"submit() of {jobs} INSERTs, all done",
        "/s",
        samples,
        must="2x",
        goal="6x",
        more_is_better=True,
        notes=[note],
    )


def _woken(place: Place, session: psycopg.Connection[Any]) -> Row:
    actions = {
        peer.name: _value(session, f"select bench.{peer.word}_woken()")
        for peer in place.peers.present
    }
    samples = in_turns(actions, place.effort.quick)
    return row(
        "wait() returns, after the job's last statement began to end",
        "ms",
        samples,
        must="0.4x",
        goal="0.2x",
    )


def _first(place: Place) -> Row:
    """Time the first launch and wait of a session; connecting is not counted."""

    def first(query: str) -> Callable[[], float]:
        def call() -> float:
            with place.connect() as session:
                began = time.perf_counter()
                session.execute(query)
                return (time.perf_counter() - began) * 1000

        return call

    actions = {
        peer.name: first(f"select * from bench.{peer.word}_launch('select 1::text')")
        for peer in place.peers.present
    }
    actions[PYTHON] = first("select bench.one()")
    measured = row(
        "first launch + wait of a new session [from a client]",
        "ms",
        in_turns(actions, place.effort.quick // 2 or 1, 1),
        must="Python's own start + 8 ms",
        goal="+ 4 ms",
    )
    above = measured.figures[HERE].median - measured.figures[PYTHON].median
    measured.notes.append(f"here it takes {above:.1f} ms more than Python's own start")
    return measured


def _cron(place: Place) -> Iterator[Row]:
    """Time a job of pg_cron that runs every second, from its scheduling to its effect."""
    if CRON in place.peers.absent:
        return
    with place.connect() as session:
        where = place.number(
            session, "select count(*) from pg_settings where name = 'cron.database_name'"
        )
        if not where:
            place.peers.absent[CRON] = "it is not preloaded"
            return
        home = session.execute("select current_setting('cron.database_name')").fetchone() or ("",)
        with place.connect(home[0]) as cron:
            cron.execute("create extension if not exists pg_cron")

            def call() -> float:
                session.execute("truncate bench.t")
                began = time.perf_counter()
                job = cron.execute(
                    "select cron.schedule_in_database('bench', '1 seconds', %s, %s)",
                    (INSERT, place.dbname),
                ).fetchone()
                while not place.number(session, "select count(*) from bench.t"):
                    time.sleep(0.002)
                elapsed = (time.perf_counter() - began) * 1000
                cron.execute("select cron.unschedule(%s)", job)
                return elapsed

            here = _value(
                session, "select waited from bench.here_launch('insert into bench.t values (1)')"
            )
            samples = in_turns({HERE: here, CRON: call}, place.effort.slow, 1)
        yield row("an INSERT in the background, until it is done", "ms", samples, against=CRON)
