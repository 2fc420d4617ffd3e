"""Fifty sessions that launch at once, against the same jobs one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from tests.bench.measure import figure
from tests.bench.peers import HERE
from tests.bench.place import Place
from tests.bench.report import Row
from tools.product import SCHEMA

SESSIONS = 50
# connections left for the one that counts, and for what the server does itself
SPARE = 12
ALONE = "one after the other"

JOBS = f"""
do $do$
declare h {SCHEMA}.pg_background_handle;
begin
    for i in 1 .. %s loop
        h := {SCHEMA}.pg_background_launch(format('insert into bench.done values (%%s, %%s)', %s, i));
        perform {SCHEMA}.pg_background_wait(h.pid, h.cookie);
    end loop;
end $do$
"""


def measure(place: Place) -> Iterator[Row]:
    """Measure with as many sessions as the server has room for, up to 50."""
    with place.connect() as observer:
        free = place.number(
            observer,
            "select current_setting('max_connections')::int"
            " - (select count(*) from pg_stat_activity where backend_type = 'client backend')",
        )
        count = min(SESSIONS, int(free - SPARE) // 2)
        sessions = [place.connect() for _ in range(count)]
        try:
            yield _crowd(place, observer, sessions)
        finally:
            for session in sessions:
                session.close()


def _crowd(
    place: Place, observer: psycopg.Connection[Any], sessions: list[psycopg.Connection[Any]]
) -> Row:
    each, turns = place.effort.jobs_each, 1 if place.effort.short else 5
    together: list[float] = []
    alone: list[float] = []
    faults = 0
    # The first turn opens the links; it is counted, but not timed.
    for turn in range(turns + 1):
        for times, run in ((together, _at_once), (alone, _one_by_one)):
            observer.execute("truncate bench.done")
            seconds = run([_jobs(session, n, each) for n, session in enumerate(sessions)])
            if turn:
                times.append(seconds)
            faults += int(
                place.number(
                    observer,
                    f"select count(*) from generate_series(0, {len(sessions) - 1}) s,"
                    f" generate_series(1, {each}) j left join lateral"
                    " (select count(*) as n from bench.done d where d.session = s and d.job = j) d"
                    " on true where d.n <> 1",
                )
            )
    return Row(
        f"{len(sessions)} sessions launching at once, {each} jobs each",
        "s",
        {HERE: figure(together), ALONE: figure(alone)},
        ALONE,
        "0 lost, 1x",
        "0 lost, 0.6x",
        [f"lost or doubled jobs: {faults} of {len(sessions) * each * (turns + 1) * 2}"],
    )


def _jobs(session: psycopg.Connection[Any], number: int, each: int) -> Callable[[], None]:
    def run() -> None:
        session.execute(JOBS % (each, number))

    return run


def _at_once(actions: list[Callable[[], None]]) -> float:
    gate = threading.Barrier(len(actions) + 1)

    def behind_gate(action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            gate.wait()
            action()

        return run

    threads = [threading.Thread(target=behind_gate(action)) for action in actions]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _one_by_one(actions: list[Callable[[], None]]) -> float:
    began = time.perf_counter()
    for action in actions:
        action()
    return time.perf_counter() - began
