"""A registry full of finished jobs against an empty one: what each verb and view takes with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from tests.bench.history import EMPTY, FILL, launching
from tests.bench.measure import Figure, in_turns
from tests.bench.peers import HERE
from tests.bench.place import Place
from tests.bench.report import Row, row
from tools.product import SCHEMA

# {0}: pid and cookie of a job that has ended
QUICK = {
    "outcome()": f"select * from {SCHEMA}.pg_background_outcome({{0}})",
    "wait() for a job that has ended": f"select {SCHEMA}.pg_background_wait({{0}})",
    "result() of a row": f"select * from {SCHEMA}.pg_background_result({{0}}) as t(n int4)",
    "pg_background_list": f"select * from {SCHEMA}.pg_background_list",
    "pg_background_jobs, the live ones": f"select * from {SCHEMA}.pg_background_jobs"
    " where state in ('queued', 'running')",
    "pg_background_jobs, by cookie": f"select * from {SCHEMA}.pg_background_jobs where (pid, cookie) = ({{0}})",
    "run() of a query": f"select * from {SCHEMA}.pg_background_run('select 1')",
}
SLOW = {
    "pg_background_check()": f"select * from {SCHEMA}.pg_background_check()",
    "pg_background_metrics": f"select * from {SCHEMA}.pg_background_metrics",
    "pg_background_jobs, the last ten errors of all": f"select pid from {SCHEMA}.pg_background_jobs"
    " where state = 'error' order by finished_at desc limit 10",
}


def measure(place: Place) -> Iterator[Row]:
    """Measure verbs and views in turns, then what retirement takes."""
    rows = place.effort.history
    with place.another_database() as other, place.connect() as full, place.connect(other) as empty:
        full.execute(FILL % rows)
        full.execute(f"vacuum analyze {SCHEMA}.job")
        launches = {HERE: launching(full), EMPTY: launching(empty)}
        samples = in_turns(launches, place.effort.quick)
        what = f"launch(), {rows:,} finished jobs [in the session]"
        yield row(what, "ms", samples, against=EMPTY, must="1.1x", goal="1.0x")
        for what, query in (QUICK | SLOW).items():
            count = place.effort.quick if what in QUICK else min(place.effort.slow, 5)
            samples = in_turns({HERE: _call(full, query), EMPTY: _call(empty, query)}, count, 2)
            yield row(f"{what}, {rows:,} finished jobs", "ms", samples, against=EMPTY, goal="1.0x")
        yield _retirement(full, rows)


def _call(session: psycopg.Connection[Any], query: str) -> Callable[[], float]:
    handle = session.execute(
        f"select pid, cookie from {SCHEMA}.pg_background_launch('select 1')"
    ).fetchone() or (0, 0)
    session.execute(f"select {SCHEMA}.pg_background_wait(%s, %s)", handle)
    statement = query.format(f"{handle[0]}, {handle[1]}")

    def call() -> float:
        began = time.perf_counter()
        session.execute(statement).fetchall()
        return (time.perf_counter() - began) * 1000

    return call


def _retirement(session: psycopg.Connection[Any], rows: int) -> Row:
    """Let all but the last thousand go, ten seconds at a time, as the DBA does."""
    session.execute(
        f"update {SCHEMA}.pg_background_config set value = '1000' where name = 'max_history'"
    )
    samples = []
    while True:
        began = time.perf_counter()
        gone = (session.execute(f"select {SCHEMA}._retire(10000)").fetchone() or (0,))[0]
        seconds = time.perf_counter() - began
        if not gone:
            break
        samples.append(gone / seconds)
    figure = Figure(sorted(samples)[len(samples) // 2], min(samples), max(samples), len(samples))
    return Row(f"_retire(10000) with {rows:,} finished jobs", "/s", {HERE: figure})
