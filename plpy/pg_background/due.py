"""When something is due: real time, and what the clocks of a place show.

A moment is a whole number of seconds since 1970-01-01 00:00 UTC. A local time is what the clocks of
a place show, counted alike: in seconds since they showed 1970-01-01 00:00. Days are numbered from that
date on.

Nothing is imported but the refusals. Zones are known to whoever hands them in (see Zone): in the server
that is the server itself, so that schedules agree with what psql shows.
"""

from __future__ import annotations

from pg_background.errors import Refusal, bad_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_RUNS = 1000
DAY = 86400
# 29 February on a given weekday comes after 40 years at the latest: over 2100, which has none.
YEARS_SEARCHED = 50
# How much of a zone is asked for at a time.
STRETCH = 2 * 366 * DAY
# Offsets from UTC, and changes of them, are no greater than a day; a change may move the date by one.
FARTHEST_APART = 2 * DAY
# Counted from 0000-03-01, a year has its odd day at its end, and 400 years are alike.
MARCH_OF_YEAR_0 = -719468
DAYS_OF_400_YEARS = 146097
FEBRUARY = 2
MONTHS_BEFORE_JANUARY = 10


def next_runs(schedule: Schedule, zone: Zone, n: int, after: int) -> list[int]:
    """The next n (0 to 1000) moments after another at which a schedule is due; fewer if it ends."""
    if not 0 <= n <= MOST_RUNS:
        raise bad_value(f"the number of runs must be 0 to {MOST_RUNS}")
    runs: list[int] = []
    while len(runs) < n:
        due = schedule.next_after(after, zone)
        if due is None:
            break
        runs.append(due)
        after = due
    return runs


def last_until(schedule: Schedule, zone: Zone, after: int, until: int) -> int | None:
    """The last moment in (after, until] at which a schedule is due, however many there are in it."""
    last = schedule.next_after(after, zone)
    if last is None or last > until:
        return None
    # It is due at `last`, and never between `end` and `until`.
    end = until
    while last < end:
        middle = (last + end) // 2
        due = schedule.next_after(middle, zone)
        if due is not None and due <= until:
            last = due
        else:
            end = middle
    return last


# --- zones ---------------------------------------------------------------------------------------


class Zone:
    """What the clocks of a place show, at any moment.

    name: an IANA name. changes: a function (name, first, last) that returns pairs (moment, offset):
    the moment `first` with the offset that holds then, in seconds east of UTC, and behind it in order
    each moment before `last` at which another one begins; it raises unknown_zone() where the name
    means nothing. It is asked once for each two years, when they are first needed.
    """

    __slots__ = ("_changes", "_stretches", "name")

    def __init__(
        self, name: str, changes: Callable[[str, int, int], list[tuple[int, int]]]
    ) -> None:
        self.name = name
        self._changes = changes
        self._stretches: dict[int, list[tuple[int, int, int]]] = {}

    def periods(self, moment: int) -> Iterator[tuple[int, int, int]]:
        """Periods (start, end, offset), each behind the one before, from the one around a moment on.

        The offset is the same all through a period, and sometimes in the next. They never end.
        """
        number = moment // STRETCH
        while True:
            for period in self._stretch(number):
                if period[1] > moment:
                    yield period
            number += 1

    def offset(self, moment: int) -> int:
        """Seconds by which the clocks are ahead of UTC at a moment."""
        return next(self.periods(moment))[2]

    def _stretch(self, number: int) -> list[tuple[int, int, int]]:
        found = self._stretches.get(number)
        if found is None:
            end = (number + 1) * STRETCH
            changes = self._changes(self.name, number * STRETCH, end)
            ends = [start for start, _ in changes[1:]] + [end]
            found = [(start, end, offset) for (start, offset), end in zip(changes, ends)]
            self._stretches[number] = found
        return found


def unknown_zone(name: str) -> Refusal:
    """22023: there is no zone of that name."""
    return bad_value(
        f'time zone "{name[:100]}" is not known',
        "A schedule takes an IANA name like Europe/Berlin; pg_timezone_names lists them.",
    )


# --- schedules -----------------------------------------------------------------------------------


class Schedule:
    """When something is due. This one is never due at a time: @reboot.

    kind: `reboot`, `interval`, `moment`, or `local` where it depends on the zone.
    """

    __slots__ = ()
    kind = "reboot"

    def next_after(self, moment: int, zone: Zone) -> int | None:  # noqa: ARG002 (others need them)
        """The first moment after another at which it is due; None when it never is any more."""
        return None


class Every(Schedule):
    """Due every so many seconds of real time, the anchor among them."""

    __slots__ = ("anchor", "seconds")
    kind = "interval"

    def __init__(self, seconds: int, anchor: int) -> None:
        self.seconds = seconds
        self.anchor = anchor

    def next_after(self, moment: int, zone: Zone) -> int:  # noqa: ARG002 (real time has no zone)
        """The first moment after another that is whole intervals away from the anchor."""
        return moment + self.seconds - (moment - self.anchor) % self.seconds


class Moment(Schedule):
    """Due once: a timestamp with an offset."""

    __slots__ = ("due",)
    kind = "moment"

    def __init__(self, due: int) -> None:
        self.due = due

    def next_after(self, moment: int, zone: Zone) -> int | None:  # noqa: ARG002 (it has its own)
        """The moment itself while it is to come."""
        return self.due if self.due > moment else None


class LocalTime(Schedule):
    """Due once: when the clocks of a place show a certain time."""

    __slots__ = ("local",)
    kind = "local"

    def __init__(self, local: int) -> None:
        self.local = local

    def match(self, local: int) -> int | None:
        """The first local time that is meant, from another on; None when there is none."""
        return self.local if self.local >= local else None

    def follows_real_time(self) -> bool:
        """Is it due whenever the clocks show it, so never where they jump over it, and twice where they go back?

        Otherwise once for each local time: at the jump, or when the clocks show it first.
        """
        return False

    def next_after(self, moment: int, zone: Zone) -> int | None:
        """The first moment after another at which the clocks show what is meant."""
        real_time = self.follows_real_time()
        following = moment + 1
        reached: int | None = None  # the latest local time that the clocks have shown
        for start, end, offset in zone.periods(moment - DAY):
            if end > following:
                begin = max(start, following)
                low = begin + offset
                if reached is not None and not real_time:
                    low = reached if begin == start else max(low, reached)
                local = self.match(low)
                if local is None or start > moment + YEARS_SEARCHED * 366 * DAY:
                    break
                due = max(local - offset, begin)
                if due < end:
                    return due
                if not real_time and local - FARTHEST_APART > end:
                    # Whatever the clocks do until then, they show nothing that is meant.
                    return self.next_after(local - FARTHEST_APART, zone)
            reached = end + offset if reached is None else max(reached, end + offset)
        return None


# --- the calendar --------------------------------------------------------------------------------


def month_length(year: int, month: int) -> int:
    """The number of days of a month."""
    if month == FEBRUARY:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def first_of_month(year: int, month: int) -> int:
    """The day with which a month begins."""
    year, month = (year, month - 3) if month > FEBRUARY else (year - 1, month + 9)
    leap_days = year // 4 - year // 100 + year // 400
    return MARCH_OF_YEAR_0 + year * 365 + leap_days + (153 * month + 2) // 5


def date_of(day: int) -> tuple[int, int, int]:
    """Year, month and day of month."""
    era, day = divmod(day - MARCH_OF_YEAR_0, DAYS_OF_400_YEARS)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    date = day - (153 * month + 2) // 5 + 1
    year += 400 * era
    if month < MONTHS_BEFORE_JANUARY:
        return year, month + 3, date
    return year + 1, month - 9, date
