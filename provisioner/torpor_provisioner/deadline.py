"""Until when a call to a provisioner may still take effect.

The caller gives the call a deadline (`given`). It has passed when its time is up, when the
caller has given the call up, and when the caller can no longer be sure that the machine is its own
to move. A cancellation tells a provisioner all of that where it awaits; what runs on beside the
event loop (a thread, a queue shared with others) asks here, last thing before the effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torpor_provisioner.errors import NotReady


class Deadline:
    """May be asked from any thread."""

    __slots__ = ("_left",)

    def __init__(self, left: Callable[[], float]) -> None:
        self._left: Callable[[], float] | None = left

    def left(self) -> float:
        """Seconds; 0 when it has passed."""
        left = self._left
        return max(0.0, left()) if left is not None else 0.0

    def pass_now(self) -> None:
        self._left = None


_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def left() -> float:
    """Seconds for which the call under way may take effect; infinite outside any call."""
    return keep()()


def keep() -> Callable[[], float]:
    """`left` of the call under way, for code that does its work elsewhere."""
    current = _CURRENT.get()
    return current.left if current is not None else _endless


def _endless() -> float:
    return float("inf")


def check(what: str) -> None:
    """Go on, if there is time for `what` to take effect.

    Raises:
        NotReady: there is none. Nothing was done.
    """
    if left() <= 0:
        raise NotReady(f"{what}: its time was up before its turn came")


@contextmanager
def given(left: Callable[[], float]) -> Iterator[Deadline]:
    """What is begun inside has this deadline, also tasks; `left` is asked from any thread. It has
    passed at the end of the block."""
    made = Deadline(left)
    before = _CURRENT.set(made)
    try:
        yield made
    finally:
        made.pass_now()
        _CURRENT.reset(before)
