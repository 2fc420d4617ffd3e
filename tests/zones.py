"""Zones from Python's own tz database, for tests of schedules without a server."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pg_background.due import DAY, Zone, unknown_zone

LAST_MOMENT = 253370764800  # what datetime can hold, with a year to spare


@cache
def zone(name: str) -> Zone:
    """Give a zone as schedules take it; asked again it is the same one."""
    return Zone(name, changes)


@cache
def changes(name: str, first: int, last: int) -> list[tuple[int, int]]:
    """Look at the clocks once a day, and find the second of a change between two days."""
    try:
        place = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise unknown_zone(name) from None
    found = [(first, offset(place, first))]
    for day in range(first, min(last, LAST_MOMENT), DAY):
        end = min(day + DAY, last - 1)
        if offset(place, end) != found[-1][1]:
            change = _change(place, day, end)
            found.append((change, offset(place, change)))
    return found


def _change(place: ZoneInfo, before: int, after: int) -> int:
    old = offset(place, before)
    while after - before > 1:
        middle = (before + after) // 2
        if offset(place, middle) == old:
            before = middle
        else:
            after = middle
    return after


def offset(place: ZoneInfo, moment: int) -> int:
    """Seconds east of UTC."""
    shown = datetime.fromtimestamp(moment, place).utcoffset()
    assert shown is not None
    return int(shown.total_seconds())


def moment(text: str) -> int:
    """Read `2026-03-28 12:00:00+01:00`; UTC where there is no offset."""
    read = datetime.fromisoformat(text)
    return int((read if read.tzinfo else read.replace(tzinfo=timezone.utc)).timestamp())


def shown(when: int, name: str) -> str:
    """Say what the clocks of a place show: `2026-03-29 03:00 +0200`, with seconds where there are any."""
    local = datetime.fromtimestamp(when, ZoneInfo(name))
    return local.strftime("%Y-%m-%d %H:%M:%S %z" if local.second else "%Y-%m-%d %H:%M %z")
