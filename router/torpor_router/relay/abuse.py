"""How many frames that cost work and carry nothing one connection may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torpor_router.errors import Abuse
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.wire import ErrorCode
from torpor_router.limits import Limits

# Of a refused header block; for each of these it counts once more.
_REFUSAL_OCTETS: Final = 4_096
_REFUSAL_FIELDS: Final = 50


class Allowance:
    """`most` in any `window` seconds, roughly: the clock is looked at only once `most` are used."""

    __slots__ = ("_clock", "_left", "_most", "_since", "_what", "_window")

    def __init__(self, most: int, window: float, what: str, clock: Callable[[], float]) -> None:
        self._most = most
        self._window = window
        self._what = what
        self._clock = clock
        self._left = most
        self._since = clock()

    def take(self, count: int = 1) -> None:
        """Use up `count` of it.

        Raises:
            ConnectionFault: ENHANCE_YOUR_CALM, more than `most` came within the window.
        """
        self._left -= count
        if self._left < 0:
            now = self._clock()
            if now - self._since < self._window:
                why = f"over {self._most} {self._what} in {self._window:g} s"
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(Abuse(why)))
            self._since = now
            self._left = self._most - count


class AbuseLimits:
    """The allowances of one peer: a client, or a worker."""

    __slots__ = ("_fault", "_most", "_paid", "_seen", "control", "reset", "settings")

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        window = limits.flood_window
        self.control = Allowance(limits.control_frames, window, "control frames", clock).take
        self.settings = Allowance(limits.settings_frames, window, "SETTINGS", clock).take
        self.reset = Allowance(limits.resets, window, "stream resets", clock).take
        self._fault = Allowance(limits.faults, window, "refused requests", clock).take
        self._most = limits.control_frames
        self._paid = 0  # frames that DATA to this peer has paid for
        self._seen = 0  # octets of it that have been counted

    def fault(self) -> None:
        """A stream was reset because the peer broke a rule."""
        self._fault()

    def refusal(self, octets: int, fields: int) -> None:
        """A request with so large a header block was answered with a code."""
        self._fault(1 + octets // _REFUSAL_OCTETS + fields // _REFUSAL_FIELDS)

    def answer(self, octets: int) -> None:
        """A WINDOW_UPDATE or PING. `octets` of DATA have passed to this peer since it came.

        Such frames answer DATA (a window is opened again, a library measures the bandwidth), so
        each octet pays for one of them. Only those that answer nothing are counted.
        """
        if octets > self._seen:
            self._paid = min(self._paid + octets - self._seen, self._most)
            self._seen = octets
        if self._paid:
            self._paid -= 1
        else:
            self.control()
