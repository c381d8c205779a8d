"""From which day to which: in UTC, both included."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import NamedTuple

from torpor_router.usage.errors import BadPeriod

LONGEST = 1_200  # days


class Period(NamedTuple):
    first: date
    last: date


def read_period(first: str, last: str) -> Period:
    """Of two dates as in 2026-10-31; left out, from the first of this month until today.

    Raises:
        BadPeriod: they are no dates, in the wrong order, or too far from each other.
    """
    today = datetime.now(UTC).date()
    period = Period(_date(first) if first else today.replace(day=1), _date(last) if last else today)
    if period.first > period.last:
        raise BadPeriod(f"{period.first} is after {period.last}")
    if (period.last - period.first).days > LONGEST:
        raise BadPeriod(f"from {period.first} to {period.last}: {LONGEST} days at most")
    return period


def _date(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise BadPeriod(f"{text[:40]!r} is no date") from None
