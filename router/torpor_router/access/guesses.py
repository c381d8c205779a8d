"""Tokens that nobody has: how many different ones an address may try.

The same wrong token tried again is no guess, and neither is one that has ended: a forgotten job
behind an office's one address must not shut out its colleagues. Callers who are remembered are
never counted or refused here.
"""

from __future__ import annotations

from collections import OrderedDict

from torpor_router.access.errors import TooManyGuesses
from torpor_router.strangers import network_of

BURST = 60  # wrong tokens of an address at once
REFILL = 1.0  # a second, afterwards
_MOST = 10_000  # addresses remembered; those that guessed the longest ago are forgotten


class Guesses:
    """`refused` counts look-ups that were not made."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left, since
        self.refused = 0

    def __repr__(self) -> str:
        return f"<Guesses of {len(self._left)} addresses, {self.refused} refused>"

    def check(self, address: str, now: float) -> None:
        """
        Raises:
            TooManyGuesses: the address has to wait before it tries what is not known here.
        """
        if self._of(_network(address), now) < 1:
            self.refused += 1
            raise TooManyGuesses(f"{BURST} at once, then {REFILL:g} a second")

    def count(self, address: str, now: float) -> None:
        """A token that nobody has came from there."""
        network = _network(address)
        left = self._of(network, now) - 1
        self._left[network] = (max(0.0, left), now)
        self._left.move_to_end(network)
        if len(self._left) > _MOST:
            self._left.popitem(last=False)

    def _of(self, network: str, now: float) -> float:
        left, since = self._left.get(network, (float(BURST), now))
        return min(float(BURST), left + (now - since) * REFILL)


def _network(address: str) -> str:
    return network_of(address) if address else ""  # who does not come through a door
