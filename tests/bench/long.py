"""One session's jobs over a long time: is anything slower, or larger, at the end than at the beginning?

PGBACKGROUND_JOBS   how many jobs, for each of the two settings of retention (100,000)
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from typing import Any

import psycopg

from tests.bench.measure import Figure
from tests.bench.peers import HERE
from tests.bench.place import Place
from tests.bench.report import Row
from tools.product import SCHEMA

JOBS = int(os.environ.get("PGBACKGROUND_JOBS") or "100000")
WINDOWS = 10
HISTORY = 5000
FIRST = "its first window"

# One statement a job, as a client does it: a snapshot held for all of them would be another measurement.
JOB = f"""
create function pg_temp.job(out launch float8, out waited float8) as $$
declare t0 timestamptz := clock_timestamp(); t1 timestamptz; h {SCHEMA}.pg_background_handle;
begin
    h := {SCHEMA}.pg_background_launch('select 1');
    t1 := clock_timestamp();
    perform {SCHEMA}.pg_background_wait(h.pid, h.cookie);
    launch := bench.ms(t0, t1); waited := bench.ms(t0, clock_timestamp());
    perform {SCHEMA}.pg_background_detach(h.pid, h.cookie);
end $$ language plpgsql
"""
STATE = """
select (select count(*) from pgbackground.job), pg_total_relation_size('pgbackground.job') / 1048576.0,
       (select count(*) from pg_stat_activity a where a.application_name like 'pg_background%%'
           and a.datname = current_database()),
       (select count(*) from pg_locks l where l.locktype = 'advisory'),
       bench.memory(%s),
       (select max(bench.memory(a.pid)) from pg_stat_activity a
         where a.application_name like 'pg_background%%' and a.datname = current_database())
"""


def measure(place: Place) -> Iterator[Row]:
    """Measure with a short history, then with the settings a database comes with."""
    jobs = 200 if place.effort.short else JOBS
    with place.connect() as observer:
        for words, setting in ((f"max_history {HISTORY:,}", HISTORY), ("default settings", None)):
            observer.execute(
                f"delete from {SCHEMA}.pg_background_config where name = 'max_history'"
            )
            if setting is not None:
                observer.execute(
                    f"insert into {SCHEMA}.pg_background_config values ('max_history', '{setting}')"
                )
            with place.connect() as session:
                yield _row(observer, session, jobs, words)


def _row(
    observer: psycopg.Connection[Any], session: psycopg.Connection[Any], jobs: int, words: str
) -> Row:
    session.execute(JOB)
    window = jobs // WINDOWS
    launches, states = [], []
    for _ in range(WINDOWS):
        samples = []
        for _ in range(window):
            found = session.execute("select * from pg_temp.job()").fetchone()
            samples.append(found or (0.0, 0.0))
        launch, waited = (sorted(each) for each in zip(*samples))
        state = observer.execute(STATE, [session.info.backend_pid]).fetchone() or ()
        launches.append((statistics.median(launch), launch[int(window * 0.95)]))
        states.append(
            f"launch {launches[-1][0]:.2f} (p95 {launches[-1][1]:.2f}),"
            f" launch + wait {statistics.median(waited):.2f} ms;"
            " registry {:,} rows, {:.1f} MB; {} workers, {} locks; launcher {:.1f} MB, worker {:.1f} MB".format(
                *state
            )
        )
        print(f"    {words}: {states[-1]}", flush=True)
    medians = [median for median, _ in launches]
    last, first = (
        Figure(median, p95, min(medians), window) for median, p95 in (launches[-1], launches[0])
    )
    return Row(
        f"launch of job {jobs:,} in one session, {words} [in the session]",
        "ms",
        {HERE: last, FIRST: first},
        FIRST,
        "1.1x",
        "1.0x",
        [f"windows of {window:,} jobs; p10: the best window's median", *states],
    )
