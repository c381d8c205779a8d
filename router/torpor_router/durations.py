"""Lengths of time, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def duration(value: timedelta) -> str:
    """Two units at most: 31ms, 3.2s, 45s, 12m 5s, 3h 20m, 4d 1h."""
    seconds = value.total_seconds()
    if seconds < 0:
        return f"-{duration(-value)}"
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    for size, unit, below, part in _UNITS:
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit} {rest}{part}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def ago(then: datetime, now: datetime | None = None) -> str:
    """How long ago that was, as `duration` says it."""
    return duration(max(timedelta(), (now or datetime.now(UTC)) - then))
