"""A bound that several orgs share, so that none of them can use it up.

An org may take one more place while it has fewer than are free. Alone it gets half of them; two
get a third each, and so on; however many an org holds, places are free for one that comes later.
Nothing is set aside per org, and nothing is taken away again. (Switches share their buffers so:
Choudhury and Hahne, "Dynamic queue length thresholds", 1998.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Shares:
    """`most` places. `total` of them are taken."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()
        self.total = 0

    def __repr__(self) -> str:
        return f"<Shares {self.total} of {self._most}, {len(self._taken)} orgs>"

    @property
    def full(self) -> bool:
        return self.total >= self._most

    def of(self, org: str) -> int:
        return self._taken.get(org, 0)

    def enter(self, org: str) -> bool:
        """Take a place, if the org's share has one left."""
        if self.of(org) >= self._most - self.total:
            return False
        self._taken[org] += 1
        self.total += 1
        return True

    @contextmanager
    def place(self, org: str, full: Callable[[str], Exception]) -> Iterator[None]:
        """A place as long as the context lasts.

        Raises:
            Exception: the one that `full` makes, where there is no place.
        """
        if not self.enter(org):
            raise full(f"{self.of(org)} are under way")
        try:
            yield
        finally:
            self.leave(org)

    def leave(self, org: str) -> None:
        """Give back a place that `enter` granted."""
        self.total -= 1
        self._taken[org] -= 1
        if not self._taken[org]:
            del self._taken[org]
