"""Days added up: hours, wakes, and money spent and saved.

Money is exact until it is shown: a line is rounded to the cent, and the total is the sum of what
was not rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

from torpor_router.usage.errors import BadGrouping
from torpor_router.usage.prices import Price, Prices
from torpor_statemachine.lifecycle.specs import is_label_key
from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.store.usage import Day

_HOUR = Decimal(3600)
_WAKES = (WakeKind.RESUMED, WakeKind.STARTED, WakeKind.LAUNCHED)
_CENT = Decimal("0.01")
_MICROSECOND = Decimal("0.000001")
# A machine that failed costs its disks: Torpor stops one that does not come up.
_OFF = (State.ASLEEP, State.FAILED)


LABEL = "label:"  # and a label's key
WITHOUT = "(none)"  # the line of satellites without that label


class By(StrEnum):
    """What has a line of its own; beside these, each value of a label, as "label:team"."""

    SATELLITE = "satellite"
    ORG = "org"
    SIZE = "size"
    DAY = "day"


@dataclass(slots=True)
class Line:
    """Seconds `awake` (with the time of waking up and falling asleep, in which a machine is paid
    for), `waking` and `launching` of it, `asleep` and `failed`; `streams` and `held` as in `Day`.

    Money in the prices' currency: `spent`, and what `always_on` would have cost. `unpriced`: the
    seconds of machines whose price is not known, which neither has in it.
    """

    name: str
    awake: Decimal = Decimal(0)
    waking: Decimal = Decimal(0)
    asleep: Decimal = Decimal(0)
    failed: Decimal = Decimal(0)
    wakes: dict[WakeKind, int] = field(default_factory=lambda: dict.fromkeys(_WAKES, 0))
    streams: int = 0
    held: Decimal = Decimal(0)
    unpriced: Decimal = Decimal(0)
    _spent: Decimal = Decimal(0)  # times an hour's seconds, which is exact
    _always_on: Decimal = Decimal(0)

    @property
    def spent(self) -> Decimal:
        return self._spent / _HOUR

    @property
    def always_on(self) -> Decimal:
        return self._always_on / _HOUR

    @property
    def saved(self) -> Decimal:
        return (self._always_on - self._spent) / _HOUR

    @property
    def whole(self) -> Decimal:
        """Seconds in any state."""
        return self.awake + self.asleep + self.failed

    def absorb(self, other: Line) -> None:
        """Add what another has."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, times in other.wakes.items():
            self.wakes[kind] += times

    def add(self, day: Day, price: Price | None) -> None:
        seconds = {state: _exact(length) for state, length in day.seconds.items()}
        off = sum((seconds[state] for state in _OFF), Decimal(0))
        whole = sum(seconds.values(), Decimal(0))
        self.awake += whole - off
        self.waking += seconds[State.WAKING] + seconds[State.LAUNCHING]
        self.asleep += seconds[State.ASLEEP]
        self.failed += seconds[State.FAILED]
        for kind, times in day.wakes.items():
            self.wakes[kind] += times
        self.streams += day.streams
        self.held += _exact(day.held)
        if price is None:
            self.unpriced += whole
            return
        self._spent += (whole - off) * price.awake + off * price.asleep
        self._always_on += whole * price.awake


_SUMS = tuple(name for name in Line.__slots__ if name not in ("name", "wakes"))
_NAMES: dict[By, Callable[[Day], str]] = {
    By.SATELLITE: lambda day: f"{day.org}/{day.name}",
    By.ORG: lambda day: day.org,
    By.SIZE: lambda day: f"{day.provisioner} {day.size}".rstrip(),
    By.DAY: lambda day: day.day.isoformat(),
}


def check_grouping(by: str) -> None:
    """
    Raises:
        BadGrouping: nothing has a line by that.
    """
    _naming(by)


def _naming(by: str) -> Callable[[Day], str]:
    key = by.removeprefix(LABEL)
    if key != by and is_label_key(key):
        return lambda day: day.labels.get(key, WITHOUT)
    try:
        return _NAMES[By(by)]
    except ValueError:
        raise BadGrouping(repr(by[:100])) from None


def report(days: Iterable[Day], prices: Prices, by: str) -> tuple[list[Line], Line]:
    """The lines in the order of their names, and their total.

    Two satellites of one name, one after the other, have one line.

    Raises:
        BadGrouping: nothing has a line by that.
    """
    name_of = _naming(by)
    lines: dict[str, Line] = {}
    total = Line("total")
    for day in days:
        name = name_of(day)
        price = prices.of(day.provisioner, day.size)
        lines.setdefault(name, Line(name)).add(day, price)
        total.add(day, price)
    return [lines[name] for name in sorted(lines)], total


def fields(line: Line) -> dict[str, Any]:
    """A line as it is told: hours and money are decimals in text, which lose nothing."""
    return {
        "name": line.name,
        "hours_awake": _hours(line.awake),
        "hours_waking": _hours(line.waking),
        "hours_asleep": _hours(line.asleep),
        "hours_failed": _hours(line.failed),
        **{f"wakes_{kind.value}": times for kind, times in line.wakes.items()},
        "streams": line.streams,
        "seconds_held": str(round(line.held, 3)),
        "spent": str(cents(line.spent)),
        "always_on": str(cents(line.always_on)),
        "saved": str(cents(line.saved)),
        "hours_unpriced": _hours(line.unpriced),
    }


def _hours(seconds: Decimal) -> str:
    return str(round(seconds / _HOUR, 4))


def cents(amount: Decimal) -> Decimal:
    """An amount as it is shown."""
    return amount.quantize(_CENT, ROUND_HALF_UP)


def _exact(seconds: float) -> Decimal:
    """Sums of float8 are off by less than a microsecond, which the database does not count."""
    return Decimal(seconds).quantize(_MICROSECOND)
