"""Schedules: what their texts mean, when they are due, and which texts are refused."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pg_background.cron import Cron, parse
from pg_background.due import LocalTime, Schedule, Zone, last_until, next_runs
from pg_background.errors import Refusal
from tests.zones import moment, shown, zone

UTC = "UTC"


def runs(text: str, after: str, n: int, place: str = UTC) -> list[str]:
    """Say when a schedule is due next, as the clocks of the place show it."""
    found = next_runs(parse(text), zone(place), n, moment(after))
    return [shown(each, place) for each in found]


def days(text: str, after: str, n: int) -> list[str]:
    """Give month and day of the next runs."""
    return [each[5:10] for each in runs(text, after, n)]


def refusal(text: str) -> Refusal:
    """Give the refusal that a text meets."""
    with pytest.raises(Refusal) as caught:
        parse(text)
    return caught.value


# --- the five fields ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("*", list(range(60))),
        ("7", [7]),
        ("07", [7]),
        ("5-8", [5, 6, 7, 8]),
        ("5-5", [5]),
        ("50,10,10", [10, 50]),
        ("*/20", [0, 20, 40]),
        ("*/60", [0]),
        ("10-30/10", [10, 20, 30]),
        ("10-29/10", [10, 20]),
        ("50/4", [50, 54, 58]),
        ("0-2,30,*/30", [0, 1, 2, 30]),
    ],
)
def test_a_field_is_a_list_of_numbers_ranges_and_steps(text: str, minutes: list[int]) -> None:
    schedule = parse(f"{text} 0 * * *")
    assert isinstance(schedule, Cron)
    assert [minute for minute in range(64) if schedule.minutes >> minute & 1] == minutes


def test_the_names_of_months_and_weekdays_are_their_numbers() -> None:
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    for number, name in enumerate(months, 1):
        assert days(f"0 0 1 {name} *", "2025-12-31", 1) == [f"{number:02}-01"]
    # 2026-02-01 is a Sunday
    for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"]):
        assert days(f"0 0 * * {name}", "2026-01-31", 1) == [f"02-{number + 1:02}"]
        assert days(f"0 0 * * {number}", "2026-01-31", 1) == [f"02-{number + 1:02}"]


def test_case_and_white_space_do_not_matter() -> None:
    expected = runs("30 4 1 jan mon", "2026-01-01", 3)
    assert runs("\t30  4 1 JAN\nMon ", "2026-01-01", 3) == expected


@pytest.mark.parametrize(
    ("weekdays", "first_week_of_february_2026"),
    [
        ("7", [1]),
        ("0", [1]),
        ("fri-sun", [1, 6, 7]),
        ("5-7", [1, 6, 7]),
        ("sun-tue", [1, 2, 3]),
        ("0-2", [1, 2, 3]),
        ("mon-sun", [1, 2, 3, 4, 5, 6, 7]),
        ("sun-sun", [1]),
        ("sat,sun", [1, 7]),
        ("1-5", [2, 3, 4, 5, 6]),
        ("*/2", [1, 3, 5, 7]),
        ("sat-sun", [1, 7]),
    ],
)
def test_sunday_is_0_and_7_and_may_end_a_week(
    weekdays: str, first_week_of_february_2026: list[int]
) -> None:
    schedule = parse(f"0 0 * feb {weekdays}")
    first, last = moment("2026-01-31 23:59"), moment("2026-02-07")
    found = [due for due in next_runs(schedule, zone(UTC), 7, first) if due <= last]
    assert [int(shown(due, UTC)[8:10]) for due in found] == first_week_of_february_2026


def test_a_day_matches_by_date_or_weekday_when_both_are_named() -> None:
    assert days("0 0 13 * fri", "2026-02-28", 5) == ["03-06", "03-13", "03-20", "03-27", "04-03"]
    assert days("0 0 15 * mon", "2026-02-28", 4) == ["03-02", "03-09", "03-15", "03-16"]
    assert days("0 0 31 2 mon", "2026-01-31", 2) == ["02-02", "02-09"]


def test_a_day_matches_by_date_and_weekday_when_one_field_begins_with_a_star() -> None:
    # 1 June and 29 June 2026 are Mondays
    assert days("0 0 */14 * mon", "2026-05-31", 3) == ["06-01", "06-15", "06-29"]
    assert days("0 0 13 * */5", "2026-02-28", 2) == ["03-13", "09-13"]
    assert days("0 0 13 * *", "2026-02-28", 2) == ["03-13", "04-13"]
    assert days("0 0 */31,1-7 * mon", "2026-02-28", 3) == ["03-02", "04-06", "05-04"]


@pytest.mark.parametrize("last", ["L", "l", "$"])
def test_the_last_day_of_a_month_has_a_sign_of_its_own(last: str) -> None:
    assert days(f"0 0 {last} * *", "2027-12-31", 4) == ["01-31", "02-29", "03-31", "04-30"]
    assert days(f"0 0 {last} 2 *", "2099-12-31", 2) == ["02-28", "02-28"]
    assert days(f"0 0 15,{last} * *", "2026-01-31", 4) == ["02-15", "02-28", "03-15", "03-31"]


@pytest.mark.parametrize(
    ("shorthand", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@Yearly", "0 0 1 1 *"),
    ],
)
def test_a_shorthand_is_five_fields(shorthand: str, fields: str) -> None:
    assert runs(shorthand, "2026-02-03 04:05", 5) == runs(fields, "2026-02-03 04:05", 5)


def test_a_yearly_schedule_is_due_each_new_year() -> None:
    assert runs("@yearly", "2026-01-01", 2) == ["2027-01-01 00:00 +0000", "2028-01-01 00:00 +0000"]


def test_29_february_comes_in_leap_years_only() -> None:
    assert [each[:10] for each in runs("0 0 29 2 *", "2088-03-01", 4)] == [
        *("2092-02-29", "2096-02-29", "2104-02-29", "2108-02-29")
    ]


def test_29_february_on_a_weekday_is_found_over_2100() -> None:
    assert [each[:10] for each in runs("0 0 29 2 */7", "2060-03-01", 2)] == [
        *("2088-02-29", "2128-02-29")
    ]


def test_what_is_due_comes_strictly_after_the_moment() -> None:
    assert runs("30 2 * * *", "2026-05-01 02:30", 1) == ["2026-05-02 02:30 +0000"]
    assert runs("30 2 * * *", "2026-05-01 02:29:59", 1) == ["2026-05-01 02:30 +0000"]


# --- the other forms ---------------------------------------------------------------------------


def test_seconds_are_counted_from_a_fixed_moment() -> None:
    schedule = parse("7 seconds", anchor=100)
    assert next_runs(schedule, zone(UTC), 3, 100) == [107, 114, 121]
    assert next_runs(schedule, zone(UTC), 2, 108) == [114, 121]
    assert next_runs(schedule, zone(UTC), 2, 85) == [86, 93]
    assert parse("1 second").next_after(5, zone(UTC)) == 6
    assert parse("59 SECONDS").next_after(0, zone(UTC)) == 59


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [
        ("1 second", 1),
        ("90 seconds", 90),
        ("90 minutes", 5400),
        ("90min", 5400),
        ("2 hours 30 min", 9000),
        ("1h30m", 5400),
        ("1 h 30 m 5 s", 5405),
        ("1 day", 86400),
        ("2 weeks", 14 * 86400),
        ("01:30:00", 5400),
        ("00:00:05", 5),
        ("1 day 02:00", 93600),
        ("48:00:00", 172800),
        ("36525 days", 36525 * 86400),
    ],
)
def test_an_interval_is_real_time(interval: str, seconds: int) -> None:
    # A change of time lies behind 2026-03-29 01:00 UTC in Berlin.
    anchor = moment("2026-03-28 12:00")
    due = next_runs(parse(f"@every {interval}", anchor), zone("Europe/Berlin"), 2, anchor)
    assert due == [anchor + seconds, anchor + 2 * seconds]


def test_an_interval_is_counted_from_the_epoch_where_no_anchor_is_given() -> None:
    assert runs("@every 90 minutes", "1970-01-01", 2) == [
        *("1970-01-01 01:30 +0000", "1970-01-01 03:00 +0000")
    ]


def test_reboot_is_no_time() -> None:
    schedule = parse("@reboot")
    assert schedule.kind == "reboot"
    assert schedule.next_after(0, zone(UTC)) is None
    assert next_runs(schedule, zone(UTC), 5, 0) == []


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("2030-06-01", "2030-06-01 00:00:00+02:00"),
        ("2030-06-01 18:30", "2030-06-01 18:30:00+02:00"),
        ("2030-06-01T18:30:15", "2030-06-01 18:30:15+02:00"),
        ("2030-06-01 18:30:15.000", "2030-06-01 18:30:15+02:00"),
        ("2030-06-01 18:30:15.25", "2030-06-01 18:30:16+02:00"),
        ("2030-06-01 18:30:15.25+00", "2030-06-01 18:30:16+00:00"),
        ("2030-06-01 18:30Z", "2030-06-01 18:30:00+00:00"),
        ("2030-06-01t18:30z", "2030-06-01 18:30:00+00:00"),
        ("2030-06-01 18:30 UTC", "2030-06-01 18:30:00+00:00"),
        ("2030-06-01 18:30-03", "2030-06-01 18:30:00-03:00"),
        ("2030-06-01 18:30 +05:30", "2030-06-01 18:30:00+05:30"),
        ("2030-06-01 18:30-0330", "2030-06-01 18:30:00-03:30"),
        ("2032-02-29", "2032-02-29 00:00:00+01:00"),
        ("9999-12-01", "9999-12-01 00:00:00+01:00"),
    ],
)
def test_a_timestamp_is_due_once_in_its_own_zone_or_the_schedules(text: str, due: str) -> None:
    berlin = zone("Europe/Berlin")
    assert next_runs(parse(text), berlin, 5, moment("2026-01-01")) == [moment(due)]
    assert parse(text).next_after(moment(due), berlin) is None
    assert parse(text).next_after(moment(due) - 1, berlin) == moment(due)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0 0 * * *", "local"),
        ("2030-06-01 18:30", "local"),
        ("2030-06-01 18:30+02", "moment"),
        ("@every 1h", "interval"),
        ("5 seconds", "interval"),
        ("@reboot", "reboot"),
    ],
)
def test_the_kind_says_whether_the_zone_matters(text: str, kind: str) -> None:
    assert parse(text).kind == kind


# --- changes of time ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "text", "after", "due"),
    [
        # Berlin: 2026-03-29 02:00 +0100 is followed by 03:00 +0200
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28 00:00",
            ["2026-03-28 02:30 +0100", "2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"],
        ),
        (
            "Europe/Berlin",
            "0,30 2,3 * * *",
            "2026-03-28 12:00",
            ["2026-03-29 03:00 +0200", "2026-03-29 03:30 +0200", "2026-03-30 02:00 +0200"],
        ),
        (
            "America/New_York",
            "30 2 8 3 *",
            "2026-01-01 00:00",
            ["2026-03-08 03:00 -0400", "2027-03-08 02:30 -0500"],
        ),
        # Santiago: 2026-09-06 00:00 -0400 is 01:00 -0300
        (
            "America/Santiago",
            "@daily",
            "2026-09-05 00:00",
            ["2026-09-05 00:00 -0400", "2026-09-06 01:00 -0300", "2026-09-07 00:00 -0300"],
        ),
        (
            "America/Santiago",
            "30 0 * * sun",
            "2026-09-01 00:00",
            ["2026-09-06 01:00 -0300", "2026-09-13 00:30 -0300"],
        ),
        # Lord Howe: 2026-10-04 02:00 +1030 is 02:30 +1100
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-02 12:00",
            ["2026-10-03 02:15 +1030", "2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"],
        ),
        (
            "Australia/Lord_Howe",
            "0,20,40 2 4 10 *",
            "2026-10-03 00:00",
            ["2026-10-04 02:30 +1100", "2026-10-04 02:40 +1100", "2027-10-04 02:00 +1100"],
        ),
        # Samoa had no 30 December 2011
        (
            "Pacific/Apia",
            "0 12 * * *",
            "2011-12-29 00:00-10:00",
            ["2011-12-29 12:00 -1000", "2011-12-31 00:00 +1400", "2011-12-31 12:00 +1400"],
        ),
        (
            "Europe/Berlin",
            "2026-03-29 02:10",
            "2026-01-01 00:00",
            ["2026-03-29 03:00 +0200"],
        ),
    ],
)
def test_a_fixed_time_that_the_clocks_jump_over_is_due_once_at_the_jump(
    place: str, text: str, after: str, due: list[str]
) -> None:
    assert runs(text, after, len(due), place) == due


@pytest.mark.parametrize(
    ("place", "text", "after", "due"),
    [
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24 12:00",
            ["2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"],
        ),
        (
            "Europe/Berlin",
            "0-59/30 1-3 * * *",
            "2026-10-25 01:15+02:00",
            [
                *("2026-10-25 01:30 +0200", "2026-10-25 02:00 +0200", "2026-10-25 02:30 +0200"),
                *("2026-10-25 03:00 +0100", "2026-10-25 03:30 +0100", "2026-10-26 01:00 +0100"),
            ],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-11-01 00:00-04:00",
            ["2026-11-01 01:30 -0400", "2026-11-02 01:30 -0500"],
        ),
        # Santiago: 2026-04-05 00:00 -0300 is 2026-04-04 23:00 -0400 again
        (
            "America/Santiago",
            "30 23 * * *",
            "2026-04-04 12:00",
            ["2026-04-04 23:30 -0300", "2026-04-05 23:30 -0400"],
        ),
        # The first midnight is not shown: the clocks go back to 23:00 in its place.
        (
            "America/Santiago",
            "@daily",
            "2026-04-04 12:00",
            ["2026-04-05 00:00 -0400", "2026-04-06 00:00 -0400"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-03 12:00",
            ["2026-04-04 01:45 +1100", "2026-04-05 01:45 +1100", "2026-04-06 01:45 +1030"],
        ),
        (
            "Europe/Berlin",
            "2026-10-25 02:30",
            "2026-01-01 00:00",
            ["2026-10-25 02:30 +0200"],
        ),
    ],
)
def test_a_fixed_time_that_comes_twice_is_due_the_first_time(
    place: str, text: str, after: str, due: list[str]
) -> None:
    assert runs(text, after, len(due), place) == due


def test_a_fixed_time_is_not_due_again_for_who_asks_between_its_two_times() -> None:
    for asked in ("2026-10-25 02:30+02:00", "2026-10-25 02:05+01:00", "2026-10-25 02:30+01:00"):
        assert runs("30 2 * * *", asked, 1, "Europe/Berlin") == ["2026-10-26 02:30 +0100"]
    assert runs("30 2 * * *", "2026-03-29 03:00+02:00", 1, "Europe/Berlin") == [
        "2026-03-30 02:30 +0200"
    ]


@pytest.mark.parametrize(
    ("place", "text", "after", "due"),
    [
        (
            "Europe/Berlin",
            "30 * * * *",
            "2026-03-29 00:45+01:00",
            ["2026-03-29 01:30 +0100", "2026-03-29 03:30 +0200"],
        ),
        (
            "Europe/Berlin",
            "30 * * * *",
            "2026-10-25 01:45+02:00",
            ["2026-10-25 02:30 +0200", "2026-10-25 02:30 +0100", "2026-10-25 03:30 +0100"],
        ),
        (
            "Europe/Berlin",
            "*/30 2 * * *",
            "2026-03-28 12:00",
            ["2026-03-30 02:00 +0200", "2026-03-30 02:30 +0200"],
        ),
        (
            "Europe/Berlin",
            "0 */2 * * *",
            "2026-10-25 00:30+02:00",
            ["2026-10-25 02:00 +0200", "2026-10-25 02:00 +0100", "2026-10-25 04:00 +0100"],
        ),
        (
            "America/Santiago",
            "@hourly",
            "2026-09-05 22:30-04:00",
            ["2026-09-05 23:00 -0400", "2026-09-06 01:00 -0300"],
        ),
        (
            "Australia/Lord_Howe",
            "*/20 * * * *",
            "2026-10-04 01:30+10:30",
            ["2026-10-04 01:40 +1030", "2026-10-04 02:40 +1100", "2026-10-04 03:00 +1100"],
        ),
        (
            "Australia/Lord_Howe",
            "*/20 * * * *",
            "2026-04-05 01:35+11:00",
            ["2026-04-05 01:40 +1100", "2026-04-05 01:40 +1030", "2026-04-05 02:00 +1030"],
        ),
    ],
)
def test_a_wildcard_hour_or_minute_follows_real_time(
    place: str, text: str, after: str, due: list[str]
) -> None:
    assert runs(text, after, len(due), place) == due


def test_every_minute_is_every_minute() -> None:
    for place in ("Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kathmandu"):
        start = moment("2026-01-01")
        for month in range(12):
            after = start + month * 30 * 86400
            expected = [after + 60 * each for each in range(1, 1001)]
            assert next_runs(parse("* * * * *"), zone(place), 1000, after) == expected


def test_a_repeated_hour_far_ahead_of_the_first_match_is_not_missed() -> None:
    # 01:30 on 25 October has passed when the clocks go back; 02:15 is shown again.
    assert runs("15 * 25 10 *", "2026-10-25 02:30+02:00", 1, "Europe/Berlin") == [
        "2026-10-25 02:15 +0100"
    ]


@pytest.mark.parametrize("last", ["L", "$"])
def test_the_last_day_is_right_where_the_time_changes_at_the_end_of_a_month(last: str) -> None:
    # Berlin changed on Sunday 31 March 2024; Cairo went back at midnight behind 31 October 2024.
    assert runs(f"30 2 {last} * *", "2024-03-01 00:00", 2, "Europe/Berlin") == [
        *("2024-03-31 03:00 +0200", "2024-04-30 02:30 +0200")
    ]
    assert runs(f"30 23 {last} * *", "2024-10-01 00:00", 2, "Africa/Cairo") == [
        *("2024-10-31 23:30 +0300", "2024-11-30 23:30 +0200")
    ]
    assert runs(f"*/30 23 {last} * *", "2024-10-01 00:00", 4, "Africa/Cairo") == [
        *("2024-10-31 23:00 +0300", "2024-10-31 23:30 +0300"),
        *("2024-10-31 23:00 +0200", "2024-10-31 23:30 +0200"),
    ]


def test_a_schedule_that_real_time_never_reaches_ends_the_search() -> None:
    def always_jumping(_name: str, first: int, last: int) -> list[tuple[int, int]]:
        """Give a place whose clocks never show the first hour of a day."""
        found = [(first, 3600)]
        for day in range(-(-first // 86400), -(-last // 86400)):
            found += [(day * 86400, 3600), (day * 86400 + 82800, 0)]
        return sorted(set(found))

    nowhere = Zone("Nowhere/Jump", always_jumping)
    assert parse("* 0 * * *").next_after(0, nowhere) is None
    assert parse("* 1 * * *").next_after(0, nowhere) is not None


# --- zones -------------------------------------------------------------------------------------


def test_a_zone_without_meaning_is_refused() -> None:
    with pytest.raises(Refusal, match='time zone "Mars/Olympus" is not known') as caught:
        parse("@daily").next_after(0, zone("Mars/Olympus"))
    assert caught.value.sqlstate == "22023"
    assert "pg_timezone_names" in caught.value.fields["hint"]


def test_a_zone_is_asked_once_for_each_stretch_and_only_where_it_matters() -> None:
    asked: list[tuple[int, int]] = []

    def changes(_name: str, first: int, last: int) -> list[tuple[int, int]]:
        asked.append((first, last))
        return [(first, 3600)]

    place = Zone("Test/Zone", changes)
    after = moment("2026-01-10")
    for text in ("@every 5 min", "10 seconds", "@reboot", "2030-01-01 10:00Z"):
        parse(text).next_after(after, place)
    assert asked == []
    parse("0 0 29 2 */7").next_after(moment("2060-03-01"), place)
    parse("2090-01-01").next_after(after, place)
    assert len(asked) <= 6
    asked.clear()
    for _ in range(3):
        next_runs(parse("0 12 * * *"), place, 100, after)
    assert len(asked) == 1


def test_the_offset_of_a_zone_is_what_its_clocks_show() -> None:
    berlin = zone("Europe/Berlin")
    change = moment("2026-03-29 01:00")
    assert [berlin.offset(change - 1), berlin.offset(change)] == [3600, 7200]
    assert berlin.offset(moment("2126-07-01")) == 7200


# --- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["* * * * *", "30 2 * * *", "0 0 29 2 *", "7 seconds", "@every 1 day", "2026-03-01"]
)
def test_the_last_that_was_due_is_found_among_many(text: str) -> None:
    schedule, berlin = parse(text), zone("Europe/Berlin")
    after = moment("2026-02-01")
    for until in (after, after + 1, after + 90, after + 3600, after + 40 * 86400):
        due = [each for each in next_runs(schedule, berlin, 1000, after) if each <= until]
        if len(due) < 1000:
            assert last_until(schedule, berlin, after, until) == (due[-1] if due else None)
    assert last_until(parse("* * * * *"), berlin, 0, after + 59) == after


def test_the_number_of_runs_is_bounded() -> None:
    assert next_runs(parse("@daily"), zone(UTC), 0, 0) == []
    assert len(next_runs(parse("1 second"), zone(UTC), 1000, 0)) == 1000
    for n in (-1, 1001):
        with pytest.raises(Refusal, match="0 to 1000") as caught:
            next_runs(parse("@daily"), zone(UTC), n, 0)
        assert caught.value.sqlstate == "22023"


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid schedule: it is empty"),
        (" \t\n", "invalid schedule: it is empty"),
        ("*", "invalid schedule: the field hour is missing"),
        ("1 2 3 4", "invalid schedule: the field day of week is missing"),
        (
            "0 1 2 3 4 5",
            'invalid schedule: text after the fifth field (day of week): "5"',
        ),
        (
            "0 0 * * * vacuum all",
            'invalid schedule: text after the fifth field (day of week): "vacuum all"',
        ),
        ("5-1 * * * *", 'invalid minute in schedule: the range "5-1" is empty'),
        ("0 0 * * sat-mon", 'invalid day of week in schedule: the range "sat-mon" is empty'),
        ("0 0 * * 5-0", 'invalid day of week in schedule: the range "5-0" is empty'),
        ("0 0 * dec-jan *", 'invalid month in schedule: the range "dec-jan" is empty'),
        ("60 * * * *", 'invalid minute in schedule: "60" is out of range'),
        ("0 24 * * *", 'invalid hour in schedule: "24" is out of range'),
        ("0 0 0 * *", 'invalid day of month in schedule: "0" is out of range'),
        ("0 0 32 * *", 'invalid day of month in schedule: "32" is out of range'),
        ("0 0 * 13 *", 'invalid month in schedule: "13" is out of range'),
        ("0 0 * * 8", 'invalid day of week in schedule: "8" is out of range'),
        ("0 0 1-32 * *", 'invalid day of month in schedule: "1-32" is out of range'),
        ("-5 * * * *", 'invalid minute in schedule: "-5" means nothing there'),
        ("5- * * * *", 'invalid minute in schedule: "5-" means nothing there'),
        ("1-2-3 * * * *", 'invalid minute in schedule: "1-2-3" means nothing there'),
        ("** * * * *", 'invalid minute in schedule: "**" means nothing there'),
        ("1.5 * * * *", 'invalid minute in schedule: "1.5" means nothing there'),
        ("+5 * * * *", 'invalid minute in schedule: "+5" means nothing there'),
        ("1_0 * * * *", 'invalid minute in schedule: "1_0" means nothing there'),
        ("\u0661 * * * *", 'invalid minute in schedule: "\u0661" means nothing there'),
        ("jan * * * *", 'invalid minute in schedule: "jan" means nothing there'),
        ("0 mon * * *", 'invalid hour in schedule: "mon" means nothing there'),
        ("0 0 * mon *", 'invalid month in schedule: "mon" means nothing there'),
        ("0 0 * * jan", 'invalid day of week in schedule: "jan" means nothing there'),
        ("0 0 * january *", 'invalid month in schedule: "january" means nothing there'),
        ("0 0 * * 1#1", 'invalid day of week in schedule: "1#1" means nothing there'),
        ("0 0 * * 5L", 'invalid day of week in schedule: "5l" means nothing there'),
        ("0 0 * L *", 'invalid month in schedule: "l" means nothing there'),
        ("L * * * *", 'invalid minute in schedule: "l" means nothing there'),
        ("0 0 L-3 * *", 'invalid day of month in schedule: "l-3" means nothing there'),
        ("0 0 15W * *", 'invalid day of month in schedule: "15w" means nothing there'),
        ("0 0 ? * *", 'invalid day of month in schedule: "?" means nothing there'),
        ("1,,2 * * * *", 'invalid minute in schedule: "1,,2" has an empty place'),
        ("0 0 1, * *", 'invalid day of month in schedule: "1," has an empty place'),
        (
            "*/0 * * * *",
            'invalid minute in schedule: the step "/0" is not a number from 1 to 60',
        ),
        (
            "*/90 * * * *",
            'invalid minute in schedule: the step "/90" is not a number from 1 to 60',
        ),
        ("0 */25 * * *", 'invalid hour in schedule: the step "/25" is not a number from 1 to 24'),
        ("*/ * * * *", 'invalid minute in schedule: the step "/" is not a number from 1 to 60'),
        (
            "*/-2 * * * *",
            'invalid minute in schedule: the step "/-2" is not a number from 1 to 60',
        ),
        (
            "*/2/3 * * * *",
            'invalid minute in schedule: the step "/2/3" is not a number from 1 to 60',
        ),
        (
            "0 0 31 2 *",
            'invalid day of month in schedule: "31" never comes in the months that are named',
        ),
        (
            "0 0 30,31 feb *",
            'invalid day of month in schedule: "30,31" never comes in the months that are named',
        ),
        (
            "0 0 31 4,6,9,nov *",
            'invalid day of month in schedule: "31" never comes in the months that are named',
        ),
        (
            "0 0 30 2 */2",
            'invalid day of month in schedule: "30" never comes in the months that are named',
        ),
        ("@fortnightly", 'invalid schedule: "@fortnightly" means nothing'),
        ("@", 'invalid schedule: "@" means nothing'),
        ("@daily 5", 'invalid schedule: text after @daily: "5"'),
        (
            "0 seconds",
            'invalid number of seconds in schedule: "0" is not a number from 1 to 59',
        ),
        (
            "60 seconds",
            'invalid number of seconds in schedule: "60" is not a number from 1 to 59',
        ),
        (
            "ten seconds",
            'invalid number of seconds in schedule: "ten" is not a number from 1 to 59',
        ),
        ("5 seconds ago", "invalid schedule: the field month is missing"),
        ("@every", "invalid interval in schedule: it has to be from a second to 100 years"),
        ("@every 0 s", "invalid interval in schedule: it has to be from a second to 100 years"),
        (
            "@every 36526 days",
            "invalid interval in schedule: it has to be from a second to 100 years",
        ),
        ("@every day", 'invalid interval in schedule: "day" is not understood'),
        ("@every 5", 'invalid interval in schedule: "5" is not understood'),
        ("@every 1 month", 'invalid interval in schedule: "1 month" is not understood'),
        ("@every 1.5 hours", 'invalid interval in schedule: "1.5 hours" is not understood'),
        ("@every -5 minutes", 'invalid interval in schedule: "-5 minutes" is not understood'),
        ("@every 5 minutes ago", 'invalid interval in schedule: "5 minutes ago" is not understood'),
        ("@every 01:60:00", 'invalid minute in schedule: "60" is not a number from 0 to 59'),
        (
            "2030-02-31",
            'invalid day of month in schedule: "31" is not a number from 1 to 28',
        ),
        ("2030-13-01", 'invalid month in schedule: "13" is not a number from 1 to 12'),
        ("1066-10-14", 'invalid year in schedule: "1066" is not a number from 1970 to 9999'),
        ("2030-01-01 24:00", 'invalid hour in schedule: "24" is not a number from 0 to 23'),
        ("2030-01-01 10:60", 'invalid minute in schedule: "60" is not a number from 0 to 59'),
        ("2030-01-01 10:00:60", 'invalid second in schedule: "60" is not a number from 0 to 59'),
        ("2030-01-01x10:00", 'invalid timestamp in schedule: "2030-01-01x10:00" is not understood'),
        ("2030-01-01 10:00+16", 'invalid hour in schedule: "16" is not a number from 0 to 15'),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(text: str, message: str) -> None:
    refused = refusal(text)
    assert str(refused) == message
    assert refused.sqlstate == "22023"
    assert refused.fields["hint"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0 0 * * 1#1", "*/31,1-7"),
        ("0 0 * * sat-mon", '"6-7,0-1"'),
        ("50-10 * * * *", '"50-59,0-10"'),
        ("0 0 31 2 *", "L"),
        ("*/90 * * * *", "@every 90 minutes"),
        ("90 seconds", "@every 90 seconds"),
        ("0 0 * mon *", "jan to dec"),
        ("0 0 * * * *", "day of week"),
        ("2030-01-01 10:00 Europe/Berlin", "time zone"),
        ("@every 1 month", "@monthly"),
    ],
)
def test_the_hint_names_what_would_make_sense(text: str, hint: str) -> None:
    assert hint in refusal(text).fields["hint"]


def test_what_hints_name_is_accepted() -> None:
    for text in (
        "0 0 */31,1-7 * mon",
        "0 0 * * 6-7,0-1",
        "50-59,0-10 * * * *",
        "@every 90 minutes",
    ):
        assert isinstance(parse(text), Schedule)


def test_the_length_of_a_text_is_bounded() -> None:
    longest = ",".join(str(minute) for minute in range(60)) + " * * * *"
    assert isinstance(parse(longest), LocalTime)
    assert str(refusal("1" * 501)) == "invalid schedule: it is longer than 500 characters"
    assert str(refusal("@every " + "9" * 400 + " weeks")).endswith("from a second to 100 years")
    assert str(refusal("9" * 400 + " * * * *")).endswith("is out of range")


# --- cost --------------------------------------------------------------------------------------

MIXED = (
    *("* * * * *", "*/5 9-17 * * 1-5", "30 2 * * *", "0 0 L * *", "0 0 29 2 *", "0 0 29 2 */7"),
    *("@yearly", "@hourly", "0 0 13 * fri", "7 seconds", "@every 90 minutes", "2030-06-01 10:00"),
)


def test_a_thousand_schedules_cost_a_few_milliseconds() -> None:
    schedules = [parse(MIXED[each % len(MIXED)]) for each in range(1000)]
    places = [zone(name) for name in ("Europe/Berlin", "America/Santiago", "Australia/Lord_Howe")]
    start = moment("2026-03-28 12:00")

    def evaluate(after: int) -> float:
        began = time.process_time()
        for number, schedule in enumerate(schedules):
            schedule.next_after(after, places[number % 3])
        return time.process_time() - began

    evaluate(start)  # learns the zones
    assert min(evaluate(start + each * 3600) for each in range(5)) < 0.05


def test_no_schedule_is_searched_minute_by_minute() -> None:
    rare, berlin = parse("59 23 29 2 */7"), zone("Europe/Berlin")
    after = moment("2088-03-01")
    found = rare.next_after(after, berlin)
    assert found is not None
    assert shown(found, "Europe/Berlin") == "2128-02-29 23:59 +0100"
    began = time.process_time()
    for _ in range(100):
        rare.next_after(after, berlin)
    assert time.process_time() - began < 0.05


def test_reading_and_searching_need_no_module_of_pythons() -> None:
    program = (
        "import sys; sys.path.insert(0, 'plpy'); before = set(sys.modules);"
        "import pg_background.cron; print(*sorted(set(sys.modules) - before))"
    )
    python = [sys.executable, "-S", "-c", program]
    run = subprocess.run(python, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [
        *("__future__", "pg_background"),
        *("pg_background.cron", "pg_background.due", "pg_background.errors"),
    ]
