"""What is there when nothing is to be done."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.bench.measure import Figure
from tests.bench.peers import HERE
from tests.bench.place import Place
from tests.bench.report import Row

WORKERS = 4
# Workers end themselves after a minute without a job.
LOOK_AFTER = 50
PATIENCE = 70


def measure(place: Place) -> Iterator[Row]:
    """Leave workers idle in a session that stays open, and look at them."""
    with place.connect() as session, place.connect() as observer:
        session.execute("select pg_stat_clear_snapshot()")
        session.execute(
            f"do $do$ begin for i in 1 .. {WORKERS} loop"
            " perform background.pg_background_submit('select pg_sleep(0.2)'); end loop; end $do$"
        )
        found = observer.execute(
            "select pid from pg_stat_activity where application_name like 'pg_background%'"
            " and datname = current_database()"
        ).fetchall()
        pids = [pid for (pid,) in found]
        time.sleep(1)
        if place.effort.short:
            note = f"short form: {len(pids)} workers, not waited for their end"
            yield Row("idle workers", "", notes=[note])
            return
        query = f"select sum(bench.cpu(p)) from unnest(array{[session.info.backend_pid, *pids]}) p"
        before = place.number(observer, query)
        time.sleep(LOOK_AFTER)
        used = place.number(observer, query) - before
        time.sleep(PATIENCE - LOOK_AFTER)
        left = place.number(
            observer, f"select count(*) from pg_stat_activity where pid = any (array{pids})"
        )
        yield Row(
            f"backends left {PATIENCE} s after the last job of {len(pids)} workers",
            "",
            {HERE: Figure(left, left, left, 1)},
            "",
            "0",
            "0",
            [f"CPU of launcher and workers in {LOOK_AFTER} idle seconds: {used:.0f} ms"],
        )
