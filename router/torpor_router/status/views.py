"""A satellite, and requests that wait for one, as a page shows them: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from torpor_provisioner.errors import TorporError
from torpor_router.durations import duration
from torpor_router.status.strips import Strip, last_day
from torpor_statemachine.errors import recall
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.overview import Seen, Waiting

_SHORT = 90  # characters


@dataclass(frozen=True, slots=True)
class Card:
    """`who` says who has to do with its state, in a few words."""

    seen: Seen
    day: Strip
    who: str
    trouble: TorporError | None

    @property
    def id(self) -> str:
        return f"s-{self.seen.id}"


def card(seen: Seen, now: datetime) -> Card:
    stands = seen.obstacle or (seen.failure if seen.state is not State.RUNNING else None)
    return Card(
        seen,
        last_day(seen.steps, seen.state, seen.state_since, now),
        _who(seen),
        recall(stands) if stands else None,
    )


def _who(seen: Seen) -> str:
    if seen.state is State.RUNNING and seen.streams:
        number = "1 stream" if seen.streams == 1 else f"{seen.streams} streams"
        return " · ".join([number, *seen.callers])
    if seen.state is State.RUNNING and seen.idle_since is not None:
        return f"idle; sleeps after {duration(seen.sleep_after)}"
    actor = next((step.actor for step in reversed(seen.steps) if step.actor), "")
    return f"by {actor}" if actor else ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Requests that wait; `part` of the time that it takes usually has passed, out of 1."""

    waiting: Waiting
    elapsed: str
    usual: str
    part: float | None

    @property
    def usual_seconds(self) -> float:
        return max(self.waiting.usual or 0.0, 0.1)


def hold(waiting: Waiting, now: datetime) -> Hold:
    elapsed = max(timedelta(), now - waiting.since)
    usual = timedelta(seconds=waiting.usual) if waiting.usual else None
    return Hold(
        waiting,
        duration(elapsed),
        duration(usual) if usual else "",
        min(1.0, elapsed / usual) if usual else None,
    )


def in_short(text: str) -> str:
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
