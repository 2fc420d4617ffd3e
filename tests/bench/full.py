"""A registry full of finished jobs against an empty one: what each verb and view takes with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from tests.bench.measure import Figure, in_turns
from tests.bench.peers import HERE
from tests.bench.place import Place
from tests.bench.report import Row, row
from tools.product import SCHEMA

EMPTY = "with an empty registry"

# Jobs of the past, as workers leave them; `keep` is more than retention would take away.
FILL = f"""
insert into {SCHEMA}.pg_background_config values ('max_history', '100000000')
    on conflict (name) do update set value = excluded.value;
insert into pgbackground.job (
    cookie, lock_key, pid, launcher_pid, login, login_name, role, role_name, sql, kinds, expected_tag, session_limit,
    timeout_ms, queue_size, mode, keeps_rows, state, launched_at, started_at, finished_at, row_count, command_tag,
    number)
select 1000000000000 + i, 2000000000000 + i, 100000 + i %% 50, 200000, r.oid, r.rolname, r.oid, r.rolname,
       'insert into t values (1)', '{{none}}', 'INSERT', 16,
       0, 65536, 'inline', false, 'stopped', now(), now(), now(), 1, 'INSERT', i
  from generate_series(1, %s) i, pg_roles r
 where r.rolname = current_user;
"""

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
        full.execute("vacuum analyze pgbackground.job")
        launches = {HERE: _launch(full), EMPTY: _launch(empty)}
        samples = in_turns(launches, place.effort.quick)
        what = f"launch(), {rows:,} finished jobs [in the session]"
        yield row(what, "ms", samples, against=EMPTY, must="1.1x", goal="1.0x")
        for what, query in (QUICK | SLOW).items():
            count = place.effort.quick if what in QUICK else min(place.effort.slow, 5)
            samples = in_turns({HERE: _call(full, query), EMPTY: _call(empty, query)}, count, 2)
            yield row(f"{what}, {rows:,} finished jobs", "ms", samples, against=EMPTY, goal="1.0x")
        yield _retirement(full, rows)


def _launch(session: psycopg.Connection[Any]) -> Any:
    """Return a call that launches a job and gives the ms that took; its end is waited for outside of them."""
    session.execute(
        f"""
        create or replace function pg_temp.launched() returns float8 as $$
        declare t0 timestamptz := clock_timestamp(); t1 timestamptz; h {SCHEMA}.pg_background_handle;
        begin
            h := {SCHEMA}.pg_background_launch('select 1');
            t1 := clock_timestamp();
            perform {SCHEMA}.pg_background_wait(h.pid, h.cookie);
            perform {SCHEMA}.pg_background_detach(h.pid, h.cookie);
            return extract(epoch from t1 - t0) * 1000;
        end $$ language plpgsql
        """
    )

    def call() -> float:
        found = session.execute("select pg_temp.launched()").fetchone()
        return float(found[0]) if found else 0.0

    return call


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
        gone = (session.execute("select pgbackground.retire(10000)").fetchone() or (0,))[0]
        seconds = time.perf_counter() - began
        if not gone:
            break
        samples.append(gone / seconds)
    figure = Figure(sorted(samples)[len(samples) // 2], min(samples), max(samples), len(samples))
    return Row(f"_retire(10000) with {rows:,} finished jobs", "/s", {HERE: figure})
