"""The text of a schedule: five fields of cron, and what goes beyond them.

A set of minutes, hours, days or months is an integer with their bits set. Moments, local times and
days are numbers as pg_background.due counts them.
"""

from __future__ import annotations

from pg_background.due import (
    DAY,
    YEARS_SEARCHED,
    Every,
    LocalTime,
    Moment,
    Schedule,
    date_of,
    first_of_month,
    month_length,
)
from pg_background.errors import Refusal, bad_value

LONGEST_TEXT = 500
MINUTE, HOUR = 60, 3600
LONGEST_INTERVAL = 36525 * DAY
EPOCH_WEEKDAY = 4  # 1970-01-01 was a Thursday
SIX_WEEKS = sum(1 << 7 * week for week in range(6))

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY),
}
FORMS_HINT = (
    "A schedule is five fields (minute, hour, day of month, month, day of week), one of"
    " @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, @reboot,"
    " or like '30 seconds', '@every 90 minutes', '2030-01-31 18:30:00'."
)
SECONDS_HINT = "Longer ones are like '@every 90 seconds'."
TIMESTAMP_HINT = (
    "A timestamp is like 2030-01-31 18:30:00, in the time zone of the schedule; or, with +01:00 or Z"
    " behind it, in no other."
)
INTERVAL_HINT = (
    "An interval is like '90 minutes', '2 hours 30 min', '1h30m', '1 day' or '01:30:00'. Months and"
    " years are no fixed number of days: use @monthly, @yearly or the five fields."
)
NTH_HINT = "The first Monday of a month is day of month */31,1-7 with day of week mon."


def parse(text: str, anchor: int = 0) -> Schedule:
    """Read a schedule.

    text: what FORMS_HINT says, in any letter case. anchor: the moment from which `@every` and
    `N seconds` are counted. Raises 22023, naming the field that makes no sense.
    """
    if len(text) > LONGEST_TEXT:
        raise _refusal(f"it is longer than {LONGEST_TEXT} characters")
    words = text.lower().split()
    if not words:
        raise _refusal("it is empty")
    if words[0] == "@every":
        return Every(_interval(words[1:]), anchor)
    if words[0].startswith("@"):
        return _shorthand(words)
    if words[1:] in (["second"], ["seconds"]):
        return Every(_number(words[0], 1, 59, "number of seconds", SECONDS_HINT), anchor)
    if words[0][:4].isdigit() and words[0][4:5] == "-":
        return _timestamp(" ".join(words))
    return Cron(words)


class Cron(LocalTime):
    """Five fields. A day matches by its date or its weekday; by both where one of these fields begins with `*`."""

    __slots__ = ("both", "days", "hours", "last_day", "minutes", "months", "weekdays", "wild")

    def __init__(self, fields: list[str]) -> None:
        """Read the fields, which are in lower case. Raises 22023."""
        _refuse_other_than_five(fields)
        minute, hour, day, month, weekday = fields
        self.minutes = MINUTES.read(minute)
        self.hours = HOURS.read(hour)
        dates = [item for item in day.split(",") if item not in ("l", "$")]
        self.days = DAYS.read(",".join(dates)) if dates else 0
        self.last_day = dates != day.split(",")
        self.months = MONTHS.read(month)
        weekdays = WEEKDAYS.read(weekday)
        self.weekdays = (weekdays | weekdays >> 7) & 0b111_1111
        self.both = "*" in (day[0], weekday[0])
        self.wild = "*" in (minute[0], hour[0])
        self._refuse_impossible(day)

    def follows_real_time(self) -> bool:
        """A minute or an hour that begins with `*` means each one that passes."""
        return self.wild

    def match(self, local: int) -> int | None:
        """The first local time that is meant, from another on; None when there is none."""
        today, minute = divmod(-(-local // MINUTE), 24 * 60)
        day = self._next_day(today)
        if day == today:
            time = self._next_time(minute)
            if time >= 0:
                return day * DAY + time
            day = self._next_day(today + 1)
        return None if day is None else day * DAY + self._next_time(0)

    def _next_time(self, minute: int) -> int:
        """The first time of day that is meant, in seconds, from a minute of the day on; -1 for none."""
        hour, minute = divmod(minute, 60)
        if self.hours >> hour & 1:
            found = _first_bit(self.minutes, minute)
            if found >= 0:
                return hour * HOUR + found * MINUTE
        hour = _first_bit(self.hours, hour + 1)
        return -1 if hour < 0 else hour * HOUR + _first_bit(self.minutes, 0) * MINUTE

    def _next_day(self, day: int) -> int | None:
        """The first day that is meant, from another on."""
        year, month, date = date_of(day)
        for each in range(year, year + YEARS_SEARCHED):
            while (following := _first_bit(self.months, month)) >= 0:
                first = first_of_month(each, following)
                found = _first_bit(
                    self._days(each, following, first), date if following == month else 1
                )
                if found >= 0:
                    return first + found - 1
                month, date = following + 1, 1
            month, date = 1, 1
        return None

    def _days(self, year: int, month: int, first: int) -> int:
        """The dates that are meant in a month that begins on the day `first`."""
        length = month_length(year, month)
        dates = self.days | self.last_day << length
        # Bit 1 is the first of the month, and so many days of its week lie before it.
        weekdays = (self.weekdays * SIX_WEEKS >> (first + EPOCH_WEEKDAY) % 7) << 1
        return (dates & weekdays if self.both else dates | weekdays) & ((2 << length) - 2)

    def _refuse_impossible(self, text: str) -> None:
        if self.both and not self.last_day:
            longest = max(
                month_length(2000, month) for month in range(1, 13) if self.months >> month & 1
            )
            if _first_bit(self.days, 0) > longest:
                raise DAYS.refusal(
                    f'"{text}" never comes in the months that are named',
                    "The last day of a month is L.",
                )


def _first_bit(bits: int, least: int) -> int:
    """The number of the lowest bit that is set, from another on; -1 for none."""
    rest = bits >> least
    return least + (rest & -rest).bit_length() - 1 if rest else -1


# --- reading the five fields ---------------------------------------------------------------------


class Field:
    """One of the five fields: its name, its least and greatest number, and names for the numbers."""

    __slots__ = ("greatest", "least", "name", "names")

    def __init__(self, name: str, least: int, greatest: int, names: str = "") -> None:
        self.name = name
        self.least = least
        self.greatest = greatest
        self.names = names.split()

    def read(self, text: str) -> int:
        """The numbers that a list of items stands for, as bits."""
        bits = 0
        for item in text.split(","):
            if not item:
                raise self.refusal(f'"{text}" has an empty place')
            bits |= self._item(item)
        return bits

    def refusal(self, why: str, hint: str = "") -> Refusal:
        """22023, naming the field."""
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        numbers = f"It is * or {self.least} to {self.greatest}{names}"
        return _refusal(why, hint or f"{numbers}; ranges 1-5, steps */2, lists 1,3-5.", self.name)

    def _item(self, item: str) -> int:
        span, slash, step = item.partition("/")
        if span == "*":
            first, last = self.least, self.greatest
        else:
            first, last = self._span(span, to_the_end=bool(slash))
        return sum(1 << each for each in range(first, last + 1, self._step(step) if slash else 1))

    def _span(self, span: str, to_the_end: bool) -> tuple[int, int]:
        first_text, dash, last_text = span.partition("-")
        first = self._value(first_text, span)
        if not dash:
            return first, self.greatest if to_the_end else first
        last = self._value(last_text, span)
        if first and last_text == "sun":
            last = self.greatest  # the Sunday behind the other days
        if last < first:
            raise self.refusal(
                f'the range "{span}" is empty',
                f'Name both parts: "{first}-{self.greatest},{self.least}-{last}".',
            )
        return first, last

    def _step(self, text: str) -> int:
        most = self.greatest + 1 - self.least
        if not _is_number(text) or not 1 <= int(text) <= most:
            raise self.refusal(
                f'the step "/{text}" is not a number from 1 to {most}',
                "Longer steps are like '@every 90 minutes'.",
            )
        return int(text)

    def _value(self, text: str, item: str) -> int:
        if text in self.names:
            return self.names.index(text) + self.least
        if not _is_number(text):
            raise self.refusal(f'"{item}" means nothing there', NTH_HINT if "#" in item else "")
        if not self.least <= int(text) <= self.greatest:
            raise self.refusal(f'"{item}" is out of range')
        return int(text)


MINUTES = Field("minute", 0, 59)
HOURS = Field("hour", 0, 23)
DAYS = Field("day of month", 1, 31)
MONTHS = Field("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec")
WEEKDAYS = Field("day of week", 0, 7, "sun mon tue wed thu fri sat")
FIELDS = (MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS)


def _refuse_other_than_five(fields: list[str]) -> None:
    if len(fields) < len(FIELDS):
        raise _refusal(f"the field {FIELDS[len(fields)].name} is missing")
    if len(fields) > len(FIELDS):
        rest = " ".join(fields[len(FIELDS) :])
        raise _refusal(f'text after the fifth field (day of week): "{rest}"')


def _shorthand(words: list[str]) -> Schedule:
    if len(words) > 1:
        raise _refusal(f'text after {words[0]}: "{" ".join(words[1:])}"')
    if words[0] == "@reboot":
        return Schedule()
    if words[0] not in SHORTHANDS:
        raise _refusal(f'"{words[0]}" means nothing')
    return Cron(SHORTHANDS[words[0]].split())


# --- reading the other forms ---------------------------------------------------------------------


def _interval(words: list[str]) -> int:
    """The seconds of `2 hours 30 min`, `1h30m`, `1 day 02:00:00`."""
    seconds = 0
    if words and ":" in words[-1]:
        seconds = _clock(words[-1], INTERVAL_HINT, LONGEST_INTERVAL // HOUR)
        words = words[:-1]
    rest = " ".join(words)
    while rest:
        behind = rest.lstrip("0123456789")
        number = rest[: len(rest) - len(behind)]
        rest = behind.lstrip().lstrip("abcdefghijklmnopqrstuvwxyz")
        unit = behind.lstrip()[: len(behind.lstrip()) - len(rest)]
        if not number or unit not in UNITS:
            raise _refusal(f'"{" ".join(words)}" is not understood', INTERVAL_HINT, "interval")
        seconds += int(number) * UNITS[unit]
        rest = rest.lstrip()
    if not 1 <= seconds <= LONGEST_INTERVAL:
        raise _refusal("it has to be from a second to 100 years", INTERVAL_HINT, "interval")
    return seconds


def _timestamp(text: str) -> Schedule:
    """A schedule that is due once: `2030-01-31`, `2030-01-31 18:30`, `2030-01-31t18:30:00.5+01:00`."""
    date, time = text[: len("2030-01-31")], text[len("2030-01-31") :]
    year_text, _, rest = date.partition("-")
    month_text, _, day_text = rest.partition("-")
    year = _number(year_text, 1970, 9999, "year", TIMESTAMP_HINT)
    month = _number(month_text, 1, 12, "month", TIMESTAMP_HINT)
    day = _number(day_text, 1, month_length(year, month), "day of month", TIMESTAMP_HINT)
    midnight = (first_of_month(year, month) + day - 1) * DAY
    if not time:
        return LocalTime(midnight)
    if time[0] not in " t":
        raise _refusal(f'"{text}" is not understood', TIMESTAMP_HINT, "timestamp")
    time = time[1:].replace(" ", "")
    offset_at = max(time.find(mark) for mark in ("z", "utc", "+", "-"))
    if offset_at < 0:
        return LocalTime(midnight + _clock(time, TIMESTAMP_HINT))
    clock = _clock(time[:offset_at], TIMESTAMP_HINT)
    return Moment(midnight + clock - _offset(time[offset_at:]))


def _offset(text: str) -> int:
    """Seconds east of UTC of `z`, `utc`, `+02`, `-03:30`, `+0530`."""
    if text in ("z", "utc"):
        return 0
    clock = text[1:] if ":" in text else text[1:3] + ":" + (text[3:] or "00")
    seconds = _clock(clock, TIMESTAMP_HINT, 15)
    return -seconds if text[0] == "-" else seconds


def _clock(text: str, hint: str, most_hours: int = 23) -> int:
    """Seconds of `18:30` or `18:30:00`; a fraction of a second counts as a whole one."""
    hours, _, rest = text.partition(":")
    minutes, _, rest = rest.partition(":")
    seconds, _, fraction = (rest or "0").partition(".")
    return (
        _number(hours, 0, most_hours, "hour", hint) * HOUR
        + _number(minutes, 0, 59, "minute", hint) * MINUTE
        + _number(seconds, 0, 59, "second", hint)
        + bool(_number(fraction or "0", 0, 10**9, "second", hint))
    )


def _number(text: str, least: int, most: int, field: str, hint: str) -> int:
    if not _is_number(text) or not least <= int(text) <= most:
        raise _refusal(f'"{text}" is not a number from {least} to {most}', hint, field)
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _refusal(why: str, hint: str = FORMS_HINT, field: str = "") -> Refusal:
    """22023, naming the field that makes no sense."""
    return bad_value(
        f"invalid {field} in schedule: {why}" if field else f"invalid schedule: {why}", hint
    )
