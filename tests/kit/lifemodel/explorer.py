"""Breadth first through every state that can be reached; the first violation has a shortest trace.

Besides what must never be (a step that is `broken`), it can ask what must always remain
possible: from each state that is reached, some state must be within reach in which `good` holds.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """What happens, and the state after it; or what it breaks."""

    what: str
    after: S | None
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Explored(Generic[S]):
    states: int
    steps: int
    broken: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"{self.states} states, {self.steps} steps"
        if self.broken:
            lines = "\n".join(f"  {number}. {step}" for number, step in enumerate(self.trace, 1))
            return f"{self.broken} ({told}):\n{lines}"
        return told


@contextmanager
def _without_garbage() -> Iterator[None]:
    """Look for none: states are plain values, and to go through them all again and again is a
    quarter of the work."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_without_garbage()
def explore(
    first: S,
    steps: Callable[[S], Iterable[Step[S]]],
    *,
    key: Callable[[S], Hashable],
    good: Callable[[S], bool] | None = None,
    most: int = 2_000_000,
) -> Explored[S]:
    """Every state from `first` on. `key` is the same for states that differ in names only.

    Raises:
        MemoryError: there are more than `most`.
    """
    known: dict[Hashable, int] = {key(first): 0}
    came: list[tuple[int, str]] = [(-1, "")]
    states: list[S] = [first]
    before: list[list[int]] = [[]]
    taken = 0
    waiting = deque([0])
    while waiting:
        number = waiting.popleft()
        for step in steps(states[number]):
            taken += 1
            if step.after is None:
                trace = (*_trace(came, number), step.what)
                return Explored(len(known), taken, step.broken, trace)
            found = known.setdefault(key(step.after), len(states))
            if found == len(states):
                if found >= most:
                    raise MemoryError(f"more than {most} states")
                states.append(step.after)
                came.append((number, step.what))
                before.append([])
                waiting.append(found)
            if good is not None:
                before[found].append(number)
    if good is not None and (stuck := _stuck(states, before, good)) is not None:
        broken = f"nothing good can come of it any more: {states[stuck]}"
        return Explored(len(known), taken, broken, _trace(came, stuck))
    return Explored(len(known), taken)


def _trace(came: list[tuple[int, str]], number: int) -> tuple[str, ...]:
    found = []
    while number > 0:
        number, what = came[number]
        found.append(what)
    return tuple(reversed(found))


def _stuck(states: list[S], before: list[list[int]], good: Callable[[S], bool]) -> int | None:
    """The first state from which no good one can be reached."""
    hopeful = [good(state) for state in states]
    waiting = deque(number for number, is_good in enumerate(hopeful) if is_good)
    while waiting:
        for number in before[waiting.popleft()]:
            if not hopeful[number]:
                hopeful[number] = True
                waiting.append(number)
    return next((number for number, hope in enumerate(hopeful) if not hope), None)
