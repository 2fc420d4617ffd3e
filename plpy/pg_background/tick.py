"""The ticking of schedules: each time that one is due becomes one job. Inside the door."""

from __future__ import annotations

from pg_background import db, due, zone
from pg_background.cookie import random_cookie

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_SCHEDULES = 200
# Of one schedule, in one turn: with `missed` all, or to be counted as dropped.
MOST_RUNS = 500
MOST_COUNTED = 10000
# With `missed` skip: what is older was missed, in seconds.
PUNCTUAL_SECONDS = 60
# Parsed texts are kept, this many at most.
MOST_KEPT = 5000

_parsed: dict[str, due.Schedule] = {}

_DUE = (
    "select d.id, d.schedule, d.timezone, d.missed, d.due, d.now, d.max_late, d.gone"
    " from pgbackground.due_schedules($1) d"
)


def tick() -> int:
    """Queue the jobs of the schedules that are due. Returns how many. In a transaction of its own."""
    db.rows("select pg_catalog.set_config('synchronous_commit', 'off', true)")
    db.rows("select pg_catalog.set_config('lock_timeout', '1s', true)")
    return sum(_see_to(row) for row in db.rows(_DUE, ("int4",), (MOST_SCHEDULES,)))


def _see_to(row: dict[str, Any]) -> int:
    """Queue what one schedule is due at. What is wrong with it concerns no other."""
    if row["gone"]:
        _put_off(row, "its role does not exist any longer", for_ever=True)
        return 0
    try:
        with db.subtransaction():
            return _queue(row)
    except Exception as error:
        if db.sqlstate_of(error) == db.CANCELED:
            raise
        _put_off(row, str(error) or type(error).__name__, for_ever=False)
        return 0


def _put_off(row: dict[str, Any], problem: str, *, for_ever: bool) -> None:
    db.rows(
        "select pgbackground.put_off($1, $2, $3)",
        ("int8", "text", "bool"),
        (row["id"], problem, for_ever),
    )


def _queue(row: dict[str, Any]) -> int:
    if row["due"] is None:
        late = row["max_late"] is not None and _boot_is_older(row["max_late"])
        plan = Runs([] if late else [None], None, int(late))
    else:
        plan = of(parsed(row["schedule"]), zone.named(row["timezone"]), row)
    queued: int = db.value(
        "select pgbackground.queue_runs($1, $2, $3, $4, $5)",
        ("int8", "int8[]", "int8[]", "int8", "int8"),
        (row["id"], [random_cookie() for _ in plan.due], plan.due, plan.following, plan.dropped),
    )
    return queued


def _boot_is_older(seconds: int) -> bool:
    found: bool = db.value(
        "select pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time()"
        " > pg_catalog.make_interval(secs => $1)",
        ("float8",),
        (seconds,),
    )
    return found


def parsed(text: str) -> due.Schedule:
    """A schedule's text, read. Raises 22023."""
    found = _parsed.get(text)
    if found is None:
        from pg_background import cron

        if len(_parsed) >= MOST_KEPT:
            _parsed.clear()
        found = _parsed[text] = cron.parse(text)
    return found


class Runs:
    """What to do about a schedule that is due.

    due: the times that become jobs (None: the server's start). following: the first time after them.
    dropped: how many were passed over.
    """

    __slots__ = ("dropped", "due", "following")

    def __init__(self, times: list[int | None], following: int | None, dropped: int) -> None:
        self.due = times
        self.following = following
        self.dropped = dropped


def of(schedule: due.Schedule, place: due.Zone, row: dict[str, Any]) -> Runs:
    """Which of the times from row["due"] to row["now"] become jobs.

    row: due, the first time that nobody has seen to; now; missed, last, skip or all; max_late in seconds or None.
    """
    # Not the stored time itself: the zone may have got other rules since.
    first = schedule.next_after(row["due"] - 1, place)
    if first is None or first > row["now"]:
        return Runs([], first, 0)
    oldest = row["now"] - _age(row)
    start = first if oldest <= first else schedule.next_after(oldest - 1, place)
    if start is None or start > row["now"]:
        return Runs(
            [],
            schedule.next_after(row["now"], place),
            _count(schedule, place, first, row["now"] + 1),
        )
    if row["missed"] == "all":
        times: list[int | None] = list(_from(schedule, place, start, row["now"]))
    else:
        times = [due.last_until(schedule, place, start - 1, row["now"])]
    following = schedule.next_after(times[-1] or 0, place)
    return Runs(times, following, _count(schedule, place, first, times[0] or 0))


def _age(row: dict[str, Any]) -> int:
    """How many seconds ago a time may be that still becomes a job."""
    ages = [row["now"] - row["due"]]
    if row["max_late"] is not None:
        ages.append(row["max_late"])
    if row["missed"] == "skip":
        ages.append(PUNCTUAL_SECONDS)
    youngest: int = min(ages)
    return youngest


def _from(schedule: due.Schedule, place: due.Zone, start: int, until: int) -> list[int]:
    """The times from one on that are not after another, as many as one turn takes."""
    times = [start]
    while len(times) < MOST_RUNS:
        following = schedule.next_after(times[-1], place)
        if following is None or following > until:
            break
        times.append(following)
    return times


def _count(schedule: due.Schedule, place: due.Zone, first: int, end: int) -> int:
    """How many times there are from one on and before another, as far as it is worth counting."""
    count = 0
    moment: int | None = first
    while moment is not None and moment < end and count < MOST_COUNTED:
        count += 1
        moment = schedule.next_after(moment, place)
    return count
