"""`make bench`: the table of docs/performance.md, taken on this machine.

PGBACKGROUND_SHORT=1     a minute's form that proves that it runs; its numbers mean nothing
PGBACKGROUND_TEST_IMAGE  and PGBACKGROUND_TEST_DSN choose the server, see tools/servers.py
python -m tests.bench calls volume ...   only these chapters
"""

from __future__ import annotations

import sys
import time

from tests.bench import calls, crowd, full, history, idle, ints, long, report, volume
from tests.bench.measure import chosen_effort
from tests.bench.place import place

CHAPTERS = {
    "calls": calls.measure,
    "volume": volume.measure,
    "crowd": crowd.measure,
    "ints": ints.measure,
    "history": history.measure,
    "full": full.measure,
    "long": long.measure,
    "idle": idle.measure,
}


def main(wanted: list[str]) -> None:
    """Measure chapter by chapter, print, and write."""
    effort = chosen_effort()
    began = time.monotonic()
    rows: list[report.Row] = []
    with place(effort) as where:
        print(where.words + ("; short form: the numbers mean nothing" if effort.short else ""))
        for name, chapter in CHAPTERS.items():
            if wanted and name not in wanted:
                continue
            for measured in chapter(where):
                rows.append(measured)
                report.show(measured)
        for peer, reason in where.peers.absent.items():
            print(f"\nabsent: {peer}: {reason}")
        report.write(where.words, where.peers.absent, rows, short=effort.short)
    print(f"\n{time.monotonic() - began:.0f} s; also in {report.OUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
