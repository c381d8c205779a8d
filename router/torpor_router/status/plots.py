"""Numbers as bars: pure. Widths and heights are in parts of `FULL`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from torpor_router.usage.report import Line
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.incidents import EDGES, Wakes

FULL = 1_000
_ORDER = (
    *(State.RUNNING, State.WAKING, State.LAUNCHING, State.UPDATING, State.SLEEPING),
    *(State.ASLEEP, State.TERMINATING, State.FAILED),
)


@dataclass(frozen=True, slots=True)
class Part:
    state: State
    number: int
    x: float
    width: float


def shares(counts: Mapping[State, int]) -> list[Part]:
    """One bar, divided by state: those that are there, in an order that does not change."""
    total = sum(counts.get(state, 0) for state in _ORDER)
    parts, x = [], 0.0
    for state in _ORDER:
        if number := counts.get(state, 0):
            width = FULL * number / total
            parts.append(Part(state, number, round(x, 1), round(width, 1)))
            x += width
    return parts


@dataclass(frozen=True, slots=True)
class Column:
    """A bar that stands. `values` and `heights` are of the parts that stand on each other."""

    label: str
    values: Sequence[str]
    heights: Sequence[float]


def histogram(wakes: Wakes) -> list[Column]:
    highest = max(wakes.buckets, default=0) or 1
    return [
        Column(label, [str(number)], [round(FULL * number / highest, 1)])
        for label, number in zip(bucket_labels(), wakes.buckets, strict=True)
    ]


def bucket_labels() -> list[str]:
    edges = [_edge(each) for each in EDGES]
    return [f"<{edges[0]}", *(f"<{each}" for each in edges[1:]), f"≥{edges[-1]}"]


def _edge(seconds: float) -> str:
    return f"{seconds / 60:g}m" if seconds >= 60 else f"{seconds:g}s"


def hours_by_day(lines: Sequence[Line]) -> list[Column]:
    """Of each day, the hours awake and asleep."""
    highest = max((line.awake + line.asleep + line.failed for line in lines), default=Decimal(0))
    return [
        Column(
            line.name,
            [f"{line.awake / 3600:.1f} h awake", f"{line.asleep / 3600:.1f} h asleep"],
            [_height(line.awake, highest), _height(line.asleep, highest)],
        )
        for line in lines
    ]


def money_by_day(lines: Sequence[Line]) -> list[Column]:
    """Of each day, what was spent, and what was saved on top of that."""
    highest = max((line.always_on for line in lines), default=Decimal(0))
    return [
        Column(
            line.name,
            [f"{line.spent:.2f} spent", f"{line.saved:.2f} saved"],
            [_height(line.spent, highest), _height(max(line.saved, Decimal(0)), highest)],
        )
        for line in lines
    ]


def _height(value: Decimal, highest: Decimal) -> float:
    return round(float(FULL * value / highest), 1) if highest else 0.0
