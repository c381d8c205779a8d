"""Whether a socket is read: not while anything stands against it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import IntFlag
from math import inf
from typing import Final

# uvloop hands over up to 256,000 octets at a time, and up to 32 times in a row: a socket that is
# always full of small frames would have the loop to itself. So reads of this size are timed, and
# after so many seconds of a turn the others have theirs, in the middle of a read if need be.
# DATA in large frames costs so little that its 32 reads are within that, and a small call would
# wait behind all their octets: so the others also have theirs after so many of them. (To stop after
# each read cost a third of the throughput.)
TIMED_READ: Final = 4 * 1024
FAIR_SHARE: Final = 0.005
FAIR_OCTETS: Final = 1 << 20
_LARGEST_READ: Final = 256_000
# What is less than both is not worth learning that a turn has ended: it is counted on in the next
# (The loop's clock does not say so: it goes on within a turn.)
_MUCH: Final = 64 * 1024  # octets
_LONG: Final = FAIR_SHARE / 8

# (octets, until) -> those that have not been read when the clock says `until`.
Read = Callable[[bytes, float], bytes]


class Reason(IntFlag):
    """Why a socket is not read. They are counted apart: each ends by itself."""

    PEER_FULL = 1  # what comes from it goes to somebody who does not take it
    OWN_FULL = 2  # it does not take what is written to it: no answers for who does not read
    TURN = 4  # others have a turn


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

    def begin(self) -> float:
        """Before a read of a stranger's; what `end` is to be given."""
        if not self._spent:
            self._loop.call_soon(self._next)
        return time.perf_counter()

    def end(self, began: float) -> None:
        """Count the time of a read; it is forgotten in the next turn."""
        self._spent += time.perf_counter() - began

    def _next(self) -> None:
        self._spent = 0.0


def _nobody(_: bytes, __: float) -> bytes:
    return b""


class Reading:
    """Reads one transport: pauses and resumes it, and keeps what a turn has no time for."""

    __slots__ = (
        "_counting",
        "_loop",
        "_octets",
        "_read",
        "_reasons",
        "_then",
        "_transport",
        "_unread",
        "_used",
    )

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, read: Read
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._read = read
        self._reasons = Reason(0)
        self._used = 0.0  # seconds of this turn of the loop
        self._octets = 0  # read in it
        self._counting = False  # they will be forgotten in the next
        self._unread = b""
        self._then: Callable[[], None] | None = None

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

    def came(self, data: bytes) -> None:
        """Octets came from the transport."""
        if self._unread:
            self._unread += data
        elif len(data) >= TIMED_READ:
            self._take(data)
        elif unread := self._read(data, inf):
            self._yield(unread)

    def after_all(self, then: Callable[[], None]) -> None:
        """Call `then` once everything that came has been read: now, or in a later turn."""
        if self._unread:
            self._then = then
        else:
            then()

    def end(self) -> None:
        """The transport has ended: what is not read yet is of no use, and nobody is referred to."""
        self._unread = b""
        self._read = _nobody
        self._then = None

    def _take(self, data: bytes) -> None:
        """Read for what is left of this turn's share."""
        begun = time.perf_counter()
        unread = self._read(data, begun + FAIR_SHARE - self._used)
        self._used += time.perf_counter() - begun
        self._octets += len(data) - len(unread)
        # one more read would be 256,000 octets at the most
        if unread or self._used > FAIR_SHARE or self._octets > FAIR_OCTETS - _LARGEST_READ:
            self._yield(unread)
        else:
            if not self._counting and (self._octets > _MUCH or self._used > _LONG):
                self._counting = True
                self._loop.call_soon(self._next_turn)
            self._all_read()

    def _next_turn(self) -> None:
        self._counting = False
        self._used, self._octets = 0.0, 0

    def _yield(self, unread: bytes) -> None:
        """Let others have a turn."""
        self._unread = unread
        self.pause(Reason.TURN)
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._used, self._octets = 0.0, 0
        unread, self._unread = self._unread, b""
        if unread:
            self._take(unread)
        else:
            self._all_read()

    def _all_read(self) -> None:
        self.resume(Reason.TURN)
        if self._then is not None:
            then, self._then = self._then, None
            then()
