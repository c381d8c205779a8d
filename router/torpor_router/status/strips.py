"""What a satellite was over some time, as rectangles: pure.

A strip is as wide as its time is long, in minutes, so that a day is 1,440 wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from torpor_router.durations import duration
from torpor_statemachine.lifecycle.states import State

DAY = timedelta(days=1)


class Step(Protocol):
    """As in `store.overview` and `lifecycle.satellite`."""

    @property
    def at(self) -> datetime: ...

    @property
    def source(self) -> State: ...

    @property
    def target(self) -> State: ...

    @property
    def actor(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Span:
    """`actor` began it. `state` is None where it is not known."""

    state: State | None
    start: datetime
    end: datetime
    actor: str = ""

    @property
    def said(self) -> str:
        by = f" by {self.actor}" if self.actor else ""
        what = self.state or "not known"
        length = duration(self.end - self.start)
        return f"{what}{by}, {self.start:%a %H:%M} to {self.end:%H:%M} UTC, {length}"


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    width: float
    span: Span


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of a picture. `said` is what somebody is told who does not see it."""

    title: str
    width: float
    bars: Sequence[Bar]
    said: str


def spans(
    steps: Iterable[Step], state: State, since: datetime, start: datetime, end: datetime
) -> list[Span]:
    """From `start` to `end`, of a satellite that is in `state` `since` then. `steps` are the oldest
    first, and may begin late or be none."""
    found: list[Span] = []
    moment, now, actor = start, None, ""
    known = False
    for step in steps:
        if step.source is step.target and known:
            continue  # something else was changed
        if step.at > start:
            before = step.source if not known else now
            if step.source is step.target:
                before = None  # its launch
            _add(found, Span(before, moment, min(step.at, end), actor))
            moment = min(step.at, end)
        now, actor, known = step.target, step.actor, True
    if not known:
        if since > start:
            _add(found, Span(None, start, since))
            moment = since
        now = state
    _add(found, Span(now, moment, end, actor))
    return found


def _add(found: list[Span], span: Span) -> None:
    if span.end > span.start:
        found.append(span)


def strip(title: str, those: Sequence[Span], start: datetime, length: timedelta = DAY) -> Strip:
    end = start + length
    bars, totals = [], dict[State, timedelta]()
    for span in those:
        left, right = max(span.start, start), min(span.end, end)
        if right <= left:
            continue
        bars.append(Bar(_minutes(left - start), max(_minutes(right - left), 1.0), span))
        if span.state is not None:
            totals[span.state] = totals.get(span.state, timedelta()) + (right - left)
    most_first = sorted(totals.items(), key=lambda each: -each[1])
    said = ", ".join(f"{state} {duration(total)}" for state, total in most_first)
    return Strip(title, _minutes(length), bars, said or "nothing is known")


def week(steps: Sequence[Step], state: State, since: datetime, now: datetime) -> list[Strip]:
    """A strip a day (UTC), the newest first."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - 6 * DAY
    whole = spans(steps, state, since, first, now)
    days = [today - number * DAY for number in range(7)]
    return [strip(f"{day:%a %d %b}", whole, day) for day in days]


def last_day(steps: Sequence[Step], state: State, since: datetime, now: datetime) -> Strip:
    start = now - DAY
    return strip("last 24 hours", spans(steps, state, since, start, now), start)


def _minutes(length: timedelta) -> float:
    return round(length / timedelta(minutes=1), 1)
