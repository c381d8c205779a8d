"""What waiting clients are told about once a second: one timer a process serves them all."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

Tell = Callable[[float], "float | None"]  # now -> when next, or None: nothing more to tell

_AT_ONCE = 500  # in one look, so that ten thousand of them do not hold up the loop


class Teller:
    """Calls each `Tell` when it is due; who has waited longest comes first.

    Where more are due than fit into one look, each is told less often.
    """

    __slots__ = ("_due", "_order")

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Tell]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, tell: Tell, due: float) -> None:
        heappush(self._due, (due, next(self._order), tell))

    def look(self, now: float) -> None:
        """To be called a few times a second."""
        for _ in range(_AT_ONCE):
            if not self._due or self._due[0][0] > now:
                return
            tell = heappop(self._due)[2]
            due = tell(now)
            if due is not None:
                self.add(tell, max(due, now))
