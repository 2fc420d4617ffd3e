"""Schedules that chance makes up, in all zones and around their changes of time, against two others.

One is a clock on the wall, which is looked at each minute: slow, and plain to see. The other is the
library cronsim, with these exceptions, where it differs from Vixie cron or from itself:

- Of several times in one jump of the clocks it gives the same moment several times; and to who asks
  within a repeated hour, moments that have passed. Both are left out of its answers.
- Schedules with a wildcard minute or hour go wrong in it where the clocks pass midnight or change by
  anything but whole hours: it rounds to the hour or to midnight by the clock, and so comes to a
  time that is not shown (Santiago), or too far (Lord Howe), or to no end at all (St. John's).
- `2-2/3` is 2,5,8 ... to it, as `2/3` is; and it does not read `fri-sun` and `$`.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pg_background.cron import Cron, parse
from pg_background.due import DAY, STRETCH, last_until, next_runs
from pg_background.errors import Refusal
from tests.zones import changes, moment, offset, zone

HOUR, MINUTE = 3600, 60
ZONES = sorted(each for each in available_timezones() if "/" in each and each[:3] != "Etc")
# Before it, offsets of less than a minute were in use.
EARLIEST, LATEST = moment("1973-01-01"), moment("2037-01-01")

settings.register_profile(
    "schedules",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("schedules")

NumbersOfText = tuple[str, frozenset[int]]


@st.composite
def items(draw: st.DrawFn, least: int, greatest: int) -> NumbersOfText:
    """Make up a number, a range, or steps of one: its text, and the numbers that it stands for."""
    first = draw(st.integers(least, greatest))
    last = draw(st.integers(first, greatest))
    step = draw(st.integers(1, greatest - least + 1))
    choices = {
        f"{first}": range(first, first + 1),
        f"{first}-{last}": range(first, last + 1),
        f"{first}/{step}": range(first, greatest + 1, step),
        f"*/{step}": range(least, greatest + 1, step),
    }
    if first < last:
        choices[f"{first}-{last}/{step}"] = range(first, last + 1, step)
    text = draw(st.sampled_from(list(choices)))
    return text, frozenset(choices[text])


def fields(least: int, greatest: int) -> st.SearchStrategy[NumbersOfText]:
    """Make up a field."""
    lists = st.lists(items(least, greatest), min_size=1, max_size=3).map(
        lambda parts: (
            ",".join(text for text, _ in parts),
            frozenset[int]().union(*(numbers for _, numbers in parts)),
        )
    )
    return st.one_of(st.just(("*", frozenset(range(least, greatest + 1)))), lists)


class MadeUp:
    """A schedule of five fields, and what it means by its making."""

    def __init__(self, parts: tuple[NumbersOfText, ...]) -> None:
        self.fields = [text for text, _ in parts]
        self.text = " ".join(self.fields)
        self.minutes, self.hours, self.days, self.months, self.weekdays = (
            numbers for _, numbers in parts
        )
        self.real_time = any(text[0] == "*" for text in self.fields[:2])

    def __repr__(self) -> str:
        return f"<{self.text}>"

    def shows(self, clocks: datetime) -> bool:
        """Tell whether clocks show, to the minute, what is meant."""
        by_date = clocks.day in self.days
        by_weekday = bool({clocks.isoweekday(), clocks.isoweekday() % 7} & self.weekdays)
        both = self.fields[2][0] == "*" or self.fields[4][0] == "*"
        return (
            clocks.minute in self.minutes
            and clocks.hour in self.hours
            and clocks.month in self.months
            and (by_date and by_weekday if both else by_date or by_weekday)
        )


made_up = st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)).map(
    MadeUp
)

# Days and months that are often hit, for windows of a few days.
frequent = st.tuples(
    fields(0, 59),
    fields(0, 23),
    st.one_of(st.just(("*", frozenset(range(1, 32)))), fields(1, 31)),
    st.just(("*", frozenset(range(1, 13)))),
    st.one_of(st.just(("*", frozenset(range(8)))), fields(0, 7)),
).map(MadeUp)


@st.composite
def moments(draw: st.DrawFn, place: str) -> int:
    """Choose a moment, mostly a little before or behind a change of time."""
    when = draw(st.integers(EARLIEST, LATEST))
    first = when // STRETCH * STRETCH
    near = [change for change, _ in changes(place, first, first + STRETCH)[1:]]
    if not near or draw(st.integers(0, 4)) == 0:
        return when
    return draw(st.sampled_from(near)) + draw(st.integers(-DAY, 4 * HOUR))


def read(schedule: MadeUp) -> Cron:
    """Read the text; give up on a day that never comes."""
    try:
        found = parse(schedule.text)
    except Refusal as refusal:
        assume("never comes" not in str(refusal))
        raise
    assert isinstance(found, Cron)
    return found


def seen_on_the_wall(schedule: MadeUp, place: str, after: int, until: int) -> list[int]:
    """Look at a clock each minute, and act on what it shows and on what it has passed over."""
    where = ZoneInfo(place)
    utc = ZoneInfo("UTC")
    passed = max(
        minute + offset(where, minute) for minute in range(after - 2 * DAY, after + 1, MINUTE)
    )
    due = []
    for minute in range(after // MINUTE * MINUTE + MINUTE, until + 1, MINUTE):
        local = minute + offset(where, minute)
        if schedule.real_time:
            new = range(local, local + 1)
        else:
            new = range(passed // MINUTE * MINUTE + MINUTE, local + 1, MINUTE)
        if any(schedule.shows(datetime.fromtimestamp(each, utc)) for each in new):
            due.append(minute)
        passed = max(passed, local)
    return due


@settings(max_examples=250)
@given(st.data(), st.sampled_from(ZONES), frequent)
def test_a_schedule_is_due_when_a_clock_on_the_wall_says_so(
    data: st.DataObject, place: str, schedule: MadeUp
) -> None:
    after = data.draw(moments(place))
    until = after + 2 * DAY
    found = read(schedule)
    due = seen_on_the_wall(schedule, place, after, until)
    for number, each in enumerate([*due, None]):
        asked = due[number - 1] if number else after
        following = found.next_after(asked, zone(place))
        assert following == each or (each is None and (following is None or following > until))
    assert last_until(found, zone(place), after, until) == (due[-1] if due else None)


def is_smooth(place: str, schedule: MadeUp, after: int, last: int) -> bool:
    """Tell whether cronsim's rounding does no harm: see the head of this file."""
    if not schedule.real_time:
        return True
    for first in range(after // STRETCH * STRETCH, last + STRETCH, STRETCH):
        known = changes(place, first, first + STRETCH)
        for (_, old), (change, new) in zip(known, known[1:]):
            low, high = sorted((change + old, change + new))
            whole_hours = low % HOUR == high % HOUR == 0
            if after - DAY < change <= last and not (
                whole_hours and low % DAY and low // DAY == high // DAY
            ):
                return False
    return True


@settings(max_examples=600)
@given(st.data(), st.sampled_from(ZONES), made_up)
def test_a_schedule_is_due_when_cronsim_says_so(
    data: st.DataObject, place: str, schedule: MadeUp
) -> None:
    after = data.draw(moments(place))
    found = next_runs(read(schedule), zone(place), 5, after)
    assume(is_smooth(place, schedule, after, found[-1] if found else after))
    theirs = CronSim(schedule.text, datetime.fromtimestamp(after, ZoneInfo(place)))
    at_most_an_hour_twice = islice(theirs, 5 + 4 * 60)
    moments_of_theirs = dict.fromkeys(int(each.timestamp()) for each in at_most_an_hour_twice)
    assert found == [each for each in moments_of_theirs if each > after][:5]


@settings(max_examples=300)
@given(st.data(), st.sampled_from(ZONES), made_up)
def test_nothing_is_due_between_a_moment_and_the_next(
    data: st.DataObject, place: str, schedule: MadeUp
) -> None:
    found = read(schedule)
    after = data.draw(moments(place))
    due = found.next_after(after, zone(place))
    assume(due is not None)
    assert due is not None
    assert due > after
    between = data.draw(st.integers(after, due - 1))
    assert found.next_after(between, zone(place)) == due
    assert last_until(found, zone(place), after, due) == due
    assert last_until(found, zone(place), after, due - 1) is None


WORDS = [
    *("@every", "@daily", "5", "*/5", "1-5", "5-1", "L", "*", "sun", "jan", "seconds", "1h"),
    *("2030-02-28", "2030-02-30", "10:00", "+02"),
]


@settings(max_examples=1000)
@given(
    st.one_of(
        st.text(max_size=40),
        st.text("0123456789*/-,@L$#? \tsunjaneveryhdm:.T+Z", max_size=40),
        st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join),
    )
)
def test_any_text_is_read_or_refused_with_a_hint(text: str) -> None:
    refused: Refusal | None = None
    try:
        found = next_runs(parse(text), zone("Europe/Berlin"), 3, EARLIEST)
    except Refusal as refusal:
        refused = refusal
    if refused is None:
        assert found == sorted({each for each in found if each > EARLIEST})
    else:
        assert refused.sqlstate == "22023"
        assert str(refused).startswith("invalid ")
        assert refused.fields["hint"]
