"""How much of what costs us and gives nobody anything one connection may send."""

from __future__ import annotations

from collections.abc import Callable

from torpor_router.errors import Abuse
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.wire import ErrorCode
from torpor_router.limits import Limits


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

    def take(self) -> None:
        """
        Raises:
            ConnectionFault: ENHANCE_YOUR_CALM, more than `most` came within the window.
        """
        self._left -= 1
        if self._left < 0:
            now = self._clock()
            if now - self._since < self._window:
                why = f"over {self._most} {self._what} in {self._window:g} s"
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(Abuse(why)))
            self._since = now
            self._left = self._most - 1


class Floods:
    """One client's allowances."""

    __slots__ = ("control", "fault", "reset", "settings")

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        window = limits.flood_window
        self.control = Allowance(limits.control_frames, window, "control frames", clock).take
        self.settings = Allowance(limits.settings_frames, window, "SETTINGS", clock).take
        self.reset = Allowance(limits.resets, window, "stream resets", clock).take
        self.fault = Allowance(limits.faults, window, "refused requests", clock).take
