"""What time leaves behind: a full registry, thousands of jobs, somebody's old snapshot."""

from __future__ import annotations

from collections.abc import Iterator
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
insert into {SCHEMA}.job (
    cookie, lock_key, pid, launcher_pid, login, role, sql, kinds, expected_tag, session_limit, timeout_ms,
    queue_size, mode, keeps_rows, state, token, launched_at, started_at, finished_at, row_count, command_tag)
select 1000000000000 + i, 2000000000000 + i, 100000 + i %% 50, 200000, r.oid, r.oid, 'insert into t values (1)',
       '{{none}}', 'INSERT', 16, 0, 65536, 'inline', false, 'stopped', gen_random_uuid(),
       now(), now(), now(), 1, 'INSERT'
  from generate_series(1, %s) i, pg_roles r
 where r.rolname = current_user;
"""

# One job after the other, and how long launch and wait of each took, summed up by blocks.
ROW_OF_JOBS = f"""
create function bench.row_of_jobs(jobs int, block int) returns setof float8 as $$
declare h {SCHEMA}.pg_background_handle; t0 timestamptz; ms float8[] := '{{}}';
begin
    for i in 1 .. jobs loop
        t0 := clock_timestamp();
        h := {SCHEMA}.pg_background_launch('select 1');
        perform {SCHEMA}.pg_background_wait(h.pid, h.cookie);
        ms := ms || bench.ms(t0, clock_timestamp());
        perform {SCHEMA}.pg_background_detach(h.pid, h.cookie);
        if i % block = 0 then
            return next (select percentile_cont(0.5) within group (order by m) from unnest(ms) m);
            ms := '{{}}';
        end if;
    end loop;
end $$ language plpgsql;
"""


def measure(place: Place) -> Iterator[Row]:
    """Measure each against a state without it."""
    yield _full_registry(place)
    with place.connect() as session:
        session.execute(ROW_OF_JOBS)
        yield _jobs_in_a_row(place, session, "nobody holds a snapshot")
        with place.connect() as holder:
            holder.execute("begin isolation level repeatable read")
            holder.execute("select count(*) from bench.t")
            yield _jobs_in_a_row(place, session, "a session holds a snapshot all the time")
            holder.execute("rollback")


def _full_registry(place: Place) -> Row:
    rows = place.effort.history
    with place.another_database() as other, place.connect() as full, place.connect(other) as empty:
        full.execute(FILL % rows)
        full.execute(f"vacuum analyze {SCHEMA}.job")
        launches = {HERE: launching(full), EMPTY: launching(empty)}
        samples = in_turns(launches, place.effort.quick)
        full.execute(f"delete from {SCHEMA}.job where launcher_pid = 200000")
        full.execute(f"delete from {SCHEMA}.pg_background_config")
    full.close()
    what = f"launch() with {rows:,} finished jobs in the registry [in the session]"
    return row(what, "ms", samples, against=EMPTY, must="1.1x", goal="1.0x")


def launching(session: psycopg.Connection[Any]) -> Any:
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


def _jobs_in_a_row(place: Place, session: psycopg.Connection[Any], words: str) -> Row:
    jobs = place.effort.jobs_in_a_row
    block = jobs // 20
    medians = [
        found[0] for found in session.execute(f"select * from bench.row_of_jobs({jobs}, {block})")
    ]
    first, last = medians[0], medians[-1]
    shown = " ".join(f"{median:.2f}" for median in medians)
    return Row(
        f"launch + wait over {jobs:,} jobs, {words} [in the session]",
        "ms",
        {
            HERE: Figure(last, max(medians), min(medians), block),
            "its first jobs": Figure(first, first, first, block),
        },
        "its first jobs",
        "1.1x",
        "1.0x",
        [
            f"medians of {block} jobs each; here: the last of them, and as p95 and p10 the worst and best",
            shown,
        ],
    )
