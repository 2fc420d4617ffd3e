"""What time leaves behind: thousands of jobs, somebody's old snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from tests.bench.measure import Figure
from tests.bench.peers import HERE
from tests.bench.place import Place
from tests.bench.report import Row
from tools.product import SCHEMA

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
    with place.connect() as session:
        session.execute(ROW_OF_JOBS)
        yield _jobs_in_a_row(place, session, "nobody holds a snapshot")
        with place.connect() as holder:
            holder.execute("begin isolation level repeatable read")
            holder.execute("select count(*) from bench.t")
            yield _jobs_in_a_row(place, session, "a session holds a snapshot all the time")
            holder.execute("rollback")


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
