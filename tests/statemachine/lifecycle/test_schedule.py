"""What schedules mean, held against a clock on the wall that is looked at minute by minute."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from torpor_statemachine.errors import BadSatellite
from torpor_statemachine.lifecycle.schedule import Now, lead, parse

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NONE = timedelta()
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def at(text: str, when: str, before: timedelta = NONE) -> Now:
    return parse(text).at(datetime.fromisoformat(when), before)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.mark.parametrize(
    ("when", "until", "next_look"),
    [
        ("2026-11-20T06:59:59+00:00", None, "2026-11-20T07:00"),  # Friday
        ("2026-11-20T07:00:00+00:00", "2026-11-20T18:00", "2026-11-20T18:00"),
        ("2026-11-20T18:00:00+00:00", None, "2026-11-23T07:00"),
        ("2026-07-03T06:30:00+00:00", "2026-07-03T17:00", "2026-07-03T17:00"),  # in summer
    ],
)
def test_office_hours(when: str, until: str | None, next_look: str) -> None:
    now = at("Mon-Fri 08:00-19:00 Europe/Prague", when)
    assert now == Now(utc(until) if until else None, utc(next_look))


def test_hours_count_from_a_lead_before_they_begin() -> None:
    before = timedelta(minutes=10)
    text = "Mon-Sun 08:00-09:00 UTC"
    early = at(text, "2026-11-20T07:49:59+00:00", before)
    assert early == Now(None, utc("2026-11-20T07:50"))
    assert at(text, "2026-11-20T07:50:00+00:00", before).until == utc("2026-11-20T09:00")


def test_hours_that_touch_are_one() -> None:
    text = "Fri 22:00-24:00 UTC; Sat 00:00-06:00 UTC"
    assert at(text, "2026-11-20T23:00:00+00:00").until == utc("2026-11-21T06:00")
    assert at("Mon-Sun 00:00-24:00 UTC", "2026-11-20T23:00:00+00:00").until is not None


def test_hours_over_midnight_end_on_the_next_day() -> None:
    now = at("Sun 22:00-06:00 UTC", "2026-11-23T05:00:00+00:00")  # Monday
    assert now.until == utc("2026-11-23T06:00")


def test_a_clock_set_forth_moves_hours_that_do_not_exist() -> None:
    """02:00 to 03:00 is left out in Prague on 2026-03-29."""
    text = "Sun 02:30-04:00 Europe/Prague"
    assert at(text, "2026-03-29T00:59:00+00:00") == Now(None, utc("2026-03-29T01:30"))
    assert at(text, "2026-03-29T01:30:00+00:00").until == utc("2026-03-29T02:00")


def test_a_clock_set_back_makes_hours_longer() -> None:
    """02:00 to 03:00 comes twice in Prague on 2026-10-25: they begin at the first, 00:00 UTC."""
    text = "Sun 02:00-04:00 Europe/Prague"
    now = at(text, "2026-10-25T00:00:00+00:00")
    assert now.until == utc("2026-10-25T03:00")


@some.composite
def hours(draw: some.DrawFn) -> tuple[str, set[int], int, int, str]:
    days = draw(some.sets(some.integers(0, 6), min_size=1))
    begin = draw(some.integers(0, 23 * 60 + 59))
    end = draw(some.integers(0, 24 * 60).filter(lambda end: end != begin))
    zone = draw(some.sampled_from(["UTC", "Europe/Prague", "America/St_Johns", "Asia/Kolkata"]))
    clock = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    return f"{','.join(DAYS[day] for day in days)} {clock} {zone}", days, begin, end, zone


@given(
    hours(),
    some.integers(0, 365 * 24 * 60).map(lambda minute: utc("2026-01-01T00:00") + minute * MINUTE),
)
def test_it_agrees_with_the_clock_on_the_wall(
    one: tuple[str, set[int], int, int, str], now: datetime
) -> None:
    text, days, begin, end, zone = one
    wall = now.astimezone(ZoneInfo(zone))
    offsets = {(wall + timedelta(days=day)).utcoffset() for day in (-2, -1, 0, 1, 2)}
    if len(offsets) > 1:
        return  # a change of the clock nearby: the tests above
    minute = wall.hour * 60 + wall.minute
    today, yesterday = wall.weekday() in days, (wall.weekday() - 1) % 7 in days
    inside = (
        today and begin <= minute < end
        if begin < end
        else (today and begin <= minute) or (yesterday and minute < end)
    )
    meant = parse(text).at(now, NONE)
    assert (meant.until is not None) == inside
    assert meant.at > now
    assert meant.until is None or meant.until == meant.at
    after = parse(text).at(meant.at, NONE)
    assert (after.until is not None) != inside  # it is looked at when something changes


@given(
    hours(), some.integers(0, 100 * 365).map(lambda day: utc("1975-01-01T00:00") + day * 24 * HOUR)
)
def test_it_is_looked_at_again_within_ten_days(
    one: tuple[str, set[int], int, int, str], now: datetime
) -> None:
    assert now < parse(one[0]).at(now, timedelta(minutes=15)).at <= now + timedelta(days=10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon-Fri",
        "Mon 08:00-19:00",
        "Mon 08:00-19:00 Europe/Nowhere",
        "Mon 08:00-19:00 ../../etc/passwd",
        "Mon 08:00-19:00 Europe",
        "Mon 8:00-19:00 UTC",
        "Mon 08:00-08:00 UTC",
        "Mon 24:00-08:00 UTC",
        "Mon 08:60-09:00 UTC",
        "Mon 25:00-26:00 UTC",
        "Xyz 08:00-19:00 UTC",
        "Mon-Tue-Wed 08:00-19:00 UTC",
        "Mon, 08:00-19:00 UTC",
        "Mon 08:00-19:00 UTC;",
        "; ".join(["Mon 08:00-19:00 UTC"] * 11),
        "Mon 08:00-19:00 UTC" + " " * 300,
    ],
)
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(BadSatellite):
        parse(text)


@given(some.text(max_size=40))
def test_any_text_is_a_schedule_or_is_refused(text: str) -> None:
    try:
        parse(text)
    except BadSatellite:
        return
    assert parse(text).text


def test_a_lead_is_bounded() -> None:
    minutes = [lead(usual) // MINUTE for usual in (None, NONE, 4 * MINUTE, 60 * MINUTE)]
    assert minutes == [2, 1, 6, 15]
