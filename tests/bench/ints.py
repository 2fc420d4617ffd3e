"""Ten million rows of one int: the memory of the worker that makes them, and of the session that reads them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.bench.measure import Figure
from tests.bench.peers import HERE
from tests.bench.place import Place
from tests.bench.report import Row
from tests.bench.volume import FETCH, Watch
from tools.product import SCHEMA

READING = f"from {SCHEMA}.pg_background_result(%s, %s) as t(i int4)"


def measure(place: Place) -> Iterator[Row]:
    """Launch and wait, then read in one query, then by cursor. Idle: after the same with one row."""
    rows = place.effort.rows_of_memory
    with place.connect() as session:
        for count in (1, rows):
            handle = session.execute(
                f"select pid, cookie from {SCHEMA}.pg_background_launch(%s)",
                [f"select i from generate_series(1, {count}) i"],
            ).fetchone() or (0, 0)
            with Watch(place, handle[0]) as worker:
                began = time.perf_counter()
                session.execute(f"select {SCHEMA}.pg_background_wait(%s, %s)", handle)
                made = time.perf_counter() - began
            with Watch(place, session.info.backend_pid) as reader:
                began = time.perf_counter()
                found = session.execute(f"select count(*) {READING}", handle).fetchone()
                read = time.perf_counter() - began
                if found != (count,):
                    raise AssertionError(f"read {found} rows of {count}")
            with Watch(place, session.info.backend_pid) as fetcher, session.transaction():
                began = time.perf_counter()
                session.execute(
                    "declare c no scroll cursor for select * "
                    + READING.replace("%s", "{}").format(*handle)
                )
                while session.execute(f"fetch {FETCH} from c").rowcount:
                    pass
                fetched = time.perf_counter() - began
    for who, watch, seconds in (
        ("the worker", worker, made),
        ("count(*) from result()", reader, read),
        (f"result() by cursor, {FETCH:,} rows at a time", fetcher, fetched),
    ):
        yield Row(
            f"memory for {rows:,} rows (int), over idle: {who}",
            "MB",
            {HERE: Figure(*(watch.most - watch.before,) * 3, 1)},
            "",
            "100 MB",
            "30 MB",
            [f"{seconds:.1f} s; {watch.most:.1f} MB at most"],
        )
