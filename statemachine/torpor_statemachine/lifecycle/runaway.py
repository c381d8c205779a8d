"""Is a satellite awake far beyond its own past, without builds to show for it? Pure.

A miner, or a client that was forgotten, keeps a machine awake for hours and opens few streams. What
is usual differs from one satellite to another, so each is compared with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

PAST = 14  # days before the one that is judged
FEWEST = 3  # of them on which it was awake; with less it has no past to be compared with
FLOOR = 12.0  # hours: nobody is woken up for less
FLOOR_OF_NEW = 20.0  # hours, of a satellite without a past
BEYOND = 1.5  # times its busiest days
LEAST_BEYOND = (
    1.2  # for one that is awake most of the day anyway, of which a day has no room for more
)
WHOLE_DAY = 23.5  # hours
QUIET = 0.25  # of its usual number of streams for each hour awake
QUIET_OF_NEW = 0.5  # streams for each hour awake


@dataclass(frozen=True, slots=True)
class Activity:
    """One day of a satellite: `hours` awake, and `streams` that began."""

    hours: float
    streams: int


def judged(day: Activity, past: Sequence[Activity]) -> str | None:
    """Why it is an alarm, in words, or None. `past` are the days before, in any order."""
    days = [each for each in past if each.hours > 0]
    if len(days) < FEWEST:
        limit, rate = FLOOR_OF_NEW, QUIET_OF_NEW
        usual = "it is new"
    else:
        busiest = _busiest([each.hours for each in days])
        limit = max(FLOOR, BEYOND * busiest)
        if limit > WHOLE_DAY:
            limit = max(WHOLE_DAY, LEAST_BEYOND * busiest)
        rate = QUIET * median(each.streams / each.hours for each in days)
        usual = f"on its busiest days of the last {PAST} it was awake for {busiest:.1f} h"
    if day.hours < limit or day.streams > rate * day.hours:
        return None
    return f"awake for {day.hours:.1f} h of a day, with {day.streams} streams begun; {usual}"


def _busiest(hours: Sequence[float]) -> float:
    """The 95th of 100."""
    ordered = sorted(hours)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
