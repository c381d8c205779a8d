"""How a connection is given up: what is open is served to its end, the rest is made anew elsewhere.

GOAWAY says which requests are served (RFC 9113 section 6.8): the worker's own, or the door's when
a satellite sleeps, a node drains, or who calls may not any more.
"""

from __future__ import annotations

from typing import Protocol

from torpor_router.errors import Retired
from torpor_router.h2 import wire
from torpor_router.h2.wire import ErrorCode
from torpor_router.relay.driver import Driver
from torpor_router.relay.parts import Parts
from torpor_router.relay.stream_ends import StreamEnds
from torpor_router.relay.streams import EARLY, FOR_CALLERS, HELD, LIGHT, NODE, RESPONDED


class RetiringCallbacks(Protocol):
    """What is told: the pair."""

    def to_client(self, data: bytes) -> None: ...

    def to_worker(self, data: bytes) -> None: ...

    def slow_down(self) -> None:
        """Look at each frame of the client's: not all of them pass any more."""
        ...


class Retiring:
    """Of one pair."""

    __slots__ = (
        *("_early", "_driver", "_stream_ends", "_holding", "_pair", "_streams"),
        "_window",
    )

    def __init__(
        self, pair: RetiringCallbacks, parts: Parts, driver: Driver, stream_ends: StreamEnds
    ) -> None:
        self._pair = pair
        self._streams = parts.streams
        self._window = parts.window
        self._holding = parts.holding
        self._early = parts.early
        self._driver = driver
        self._stream_ends = stream_ends

    def fell_asleep(self, why: str) -> None:
        """Retire; what did not keep the satellite awake has no worker any more."""
        light = [n for n, state in self._streams.states.items() if state & (LIGHT | HELD) == LIGHT]
        for stream in light:
            self._pair.to_worker(wire.rst_stream(stream, ErrorCode.CANCEL))
        self._stream_ends.cut_streams(light, Retired(why))
        self.retire(why)

    def retire(self, why: str) -> None:
        """Serve what is open to its end; everything else the client retries elsewhere."""
        held = self._streams.held
        whole = not held or self._early.begun  # nobody makes a request anew whose answer has begun
        last = self._streams.last if whole else max(min(held) - 2, 0)
        self._streams.retiring = True
        if self._streams.goaway is None or last < self._streams.goaway:
            self._stop_at(last)
            self._pair.to_client(wire.goaway(last, ErrorCode.NO_ERROR, why))
        self.finish_if_done()

    def worker_goaway(self, last: int, rest: bytes) -> bytes:
        """The worker leaves: the client is told the same, and reconnects."""
        last = last if self._streams.goaway is None else min(last, self._streams.goaway)
        self._stop_at(last)
        return wire.frame(wire.Kind.GOAWAY, 0, 0, last.to_bytes(4, "big") + rest)

    def _stop_at(self, last: int) -> None:
        self._streams.goaway = last
        self._pair.slow_down()
        for stream in [each for each in self._streams.states if each > last]:
            state = self._streams.states[stream]
            if not state & EARLY:
                self._stream_ends.take_out(stream, state)
            elif state & HELD:
                self._holding.refuse(self._streams.held[stream], Retired())
            else:
                self._stream_ends.cut_streams([stream], Retired())

    def finish_if_done(self) -> None:
        """Calls that are never done, like watching the node's health, do not hold it up.

        What waits for the client's window does: it is the end of answers, or their codes.
        """
        states = self._streams.states
        endless = NODE | RESPONDED
        if all(state & endless == endless and not state & FOR_CALLERS for state in states.values()):
            self._stream_ends.cut_streams(list(states), Retired())
            self._driver.hang_up()
            if not (self._window.waiting or self._early.waiting):
                self._driver.farewell("retired")
