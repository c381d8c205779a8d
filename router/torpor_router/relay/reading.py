"""Whether a socket is read: not while anything stands against it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag

# uvloop hands over up to 256,000 octets at a time, and up to 32 times in a row: a socket that is
# always full of small frames would have the loop to itself. Reads of this size are timed, and
# after so many seconds of a turn the others have theirs. (DATA in large frames costs so little
# that its 32 reads are within it: to stop after each of them cost a third of the throughput.)
LARGE_READ = 64 * 1024
FAIR_SHARE = 0.005


class Reason(IntFlag):
    """Why a socket is not read. They are counted apart: each ends by itself."""

    PEER_FULL = 1  # what comes from it goes to somebody who does not take it
    OWN_FULL = 2  # it does not take what is written to it: no answers for who does not read
    TURN = 4  # others have a turn
    STRANGER = 8  # what it sent waits for a turn in which strangers are read


class Turn:
    """How long strangers' connections may be read in one turn of the loop, all of them together.

    Each is bounded by itself, but very many may be ready in the same turn, and the callers whom
    the door knows would wait for all of them.
    """

    __slots__ = ("_loop", "_most", "_spent")

    def __init__(self, loop: asyncio.AbstractEventLoop, most: float = 0.01) -> None:
        self._loop = loop
        self._most = most  # seconds
        self._spent = 0.0

    def __repr__(self) -> str:
        return f"<Turn {'open' if self.open else 'spent'}>"

    @property
    def open(self) -> bool:
        return self._spent < self._most

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count the time until this is left; it is forgotten in the next turn."""
        if not self._spent:
            self._loop.call_soon(self._next)
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._spent += time.perf_counter() - begun

    def _next(self) -> None:
        self._spent = 0.0


class Reading:
    """Pauses and resumes one transport."""

    __slots__ = ("_loop", "_reasons", "_transport", "_turn", "_used")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._reasons = Reason(0)
        self._turn = 0.0  # of the loop: uvloop's time stands still within one
        self._used = 0.0  # seconds of it

    def __repr__(self) -> str:
        return f"<Reading {'paused: ' + str(self._reasons) if self._reasons else 'on'}>"

    def pause(self, reason: Reason) -> None:
        if not self._reasons and not self._transport.is_closing():
            self._transport.pause_reading()
        self._reasons |= reason

    def resume(self, reason: Reason) -> None:
        if not self._reasons & reason:
            return
        self._reasons &= ~reason
        if not self._reasons and not self._transport.is_closing():
            self._transport.resume_reading()

    def resume_all(self) -> None:
        """Read, whatever stands against it: the rest is only to be thrown away."""
        self.resume(self._reasons)

    def used(self, seconds: float) -> None:
        """A large read took so long; let others have a turn if it was enough for this one."""
        now = self._loop.time()
        if now != self._turn:
            self._turn, self._used = now, 0.0
        self._used += seconds
        if self._used > FAIR_SHARE:
            self._used = 0.0
            self.pause(Reason.TURN)
            self._loop.call_soon(self.resume, Reason.TURN)
