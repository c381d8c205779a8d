"""A schedule: the hours of the week in which a satellite is kept awake.

    Mon-Fri 08:00-19:00 Europe/Prague
    Mon,Wed 22:00-06:00 UTC; Sat 10:00-12:00 UTC

Days are those on which hours begin; hours that end before they begin end on the next day, and
24:00 is a day's end. Times are local ones in their zone: where its clocks go forward, a time that
is left out is the one an hour later; where they go back, the first of the two is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from torpor_statemachine.errors import BadSatellite

LONGEST = 300  # characters, as it is written
MOST_HOURS = 10  # parts between semicolons
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PART = re.compile(
    r"(?P<days>[A-Za-z,-]+) +(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d) +(?P<zone>[A-Za-z0-9/_+-]+)"
)
_MINUTE = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_AHEAD = 9  # days in which hours of each day of the week begin, however a zone's clock is set
_EXAMPLE = 'such as "Mon-Fri 08:00-19:00 Europe/Prague"'
_WAKE = timedelta(minutes=2)  # for a satellite that has not woken yet
_SHORTEST_LEAD, _LONGEST_LEAD = timedelta(minutes=1), timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Now:
    """What a schedule means at an instant: kept awake `until` then or not at all; look again `at`,
    when hours begin or end."""

    until: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class _Hours:
    days: frozenset[int]  # 0 is Monday
    begin: timedelta
    end: timedelta  # over a day where it is the next one's
    zone: ZoneInfo

    def around(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Begin and end of each that matters `now`, in UTC."""
        today = now.astimezone(self.zone).date()
        for ahead in range(-2, _AHEAD):
            day = today + timedelta(days=ahead)
            if day.weekday() in self.days:
                yield self._instant(day, self.begin), self._instant(day, self.end)

    def _instant(self, day: date, of_day: timedelta) -> datetime:
        return (datetime.combine(day, time(), self.zone) + of_day).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What was written, and what it says."""

    text: str
    _hours: tuple[_Hours, ...]

    def at(self, now: datetime, lead: timedelta) -> Now:
        """What it means `now`; hours count from `lead` before they begin."""
        spans = sorted(span for hours in self._hours for span in hours.around(now))
        until: datetime | None = None
        for begin, end in spans:
            reached = now if until is None else until
            if begin - lead <= reached < end:
                until = end
        if until is not None:
            return Now(until, until)
        return Now(None, min(begin for begin, _ in spans if begin - lead > now) - lead)


def lead(usual_wake: timedelta | None) -> timedelta:
    """How long before its hours begin a satellite is to be woken."""
    usual = _WAKE if usual_wake is None else usual_wake + usual_wake / 2
    return min(max(usual, _SHORTEST_LEAD), _LONGEST_LEAD)


def parse(text: str) -> Schedule:
    """
    Raises:
        BadSatellite: it is no schedule.
    """
    if len(text) > LONGEST:
        raise BadSatellite(f"schedule: {LONGEST} characters at most")
    parts = [part.strip() for part in text.split(";")]
    if len(parts) > MOST_HOURS:
        raise BadSatellite(f"schedule: {MOST_HOURS} parts at most")
    return Schedule("; ".join(parts), tuple(_hours(part) for part in parts))


def _hours(part: str) -> _Hours:
    found = _PART.fullmatch(part)
    if found is None:
        raise BadSatellite(f"schedule {part!r}: days, hours and a zone, {_EXAMPLE}")
    begin, end = _of_day(found["begin"]), _of_day(found["end"])
    if begin == timedelta(days=1) or begin == end:
        raise BadSatellite(f"schedule {part!r}: hours begin before they end, by 23:59")
    if end < begin:
        end += timedelta(days=1)
    return _Hours(_weekdays(found["days"]), begin, end, _zone(found["zone"]))


def _of_day(text: str) -> timedelta:
    if text != "24:00" and not _MINUTE.fullmatch(text):
        raise BadSatellite(f"schedule: {text} is no time of day; 00:00 to 24:00")
    return timedelta(hours=int(text[:2]), minutes=int(text[3:]))


def _weekdays(text: str) -> frozenset[int]:
    days: set[int] = set()
    for word in text.split(","):
        first, _, last = word.partition("-")
        begin, end = _weekday(first), _weekday(last or first)
        days.update(day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))
    return frozenset(days)


def _weekday(text: str) -> int:
    if text.capitalize() not in _DAYS:
        raise BadSatellite(f"schedule: {text[:20]!r} is no day; one of {', '.join(_DAYS)}")
    return _DAYS.index(text.capitalize())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown, no key, a folder
        raise BadSatellite(
            f"schedule: there is no time zone {name!r}; a name as Europe/Prague or UTC"
        ) from error
