"""Windows control while the relay itself stands between client and worker (RFC 9113 section 5.2).

Once paired, windows are between client and worker and the relay only passes them on. Before, and
for what was sent before, it keeps what the client sends, the window updates included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor_router.h2 import wire
from torpor_router.h2.faults import ConnectionFault, StreamFault
from torpor_router.h2.scanner import CLIENT_ENDED, NOTHING, QUEUED
from torpor_router.h2.wire import BIGGEST_WINDOW, DEFAULT_WINDOW, ErrorCode
from torpor_router.relay.held import Held
from torpor_router.relay.pacing import Paced, together

if TYPE_CHECKING:
    from torpor_router.relay.pair import Pair

_FRAMES = 64  # that wait for one stream, before they are put together


class Windows:
    """One pair's."""

    __slots__ = ("_opened", "_pair", "_worker_window", "paced", "waiting")

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.waiting = 0  # octets of DATA that wait
        self._opened = 0  # by the client, of the connection's window, before the worker was there
        self.paced: dict[int, Paced] = {}  # by stream
        self._worker_window = DEFAULT_WINDOW

    # --- from the client

    def data(self, stream: int, flags: int, octets: bytes, size: int) -> None:
        """DATA of a queued stream: `size` octets with its padding, `octets` without.

        Raises:
            ConnectionFault: FLOW_CONTROL_ERROR, more than the windows allow.
        """
        pair = self._pair
        if size > len(octets):
            pair.credit(size - len(octets))
            pair.tell_client(wire.window_update(stream, size - len(octets)))
        held = pair.held.get(stream)
        if held is not None:
            held.octets += len(octets)
            self.waiting += len(octets)
            if not pair.ready and self.waiting > DEFAULT_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA over the window")
        end = flags & wire.END_STREAM
        self.queue(stream, wire.frame(wire.Kind.DATA, end, stream, octets), ended=bool(end))

    def queue(self, stream: int, frame: bytes, *, ended: bool) -> None:
        """A frame of a queued stream."""
        if ended:
            self._pair.streams[stream] |= CLIENT_ENDED
        held = self._pair.held.get(stream)
        if held is not None:
            held.frames.append(frame)
            if len(held.frames) >= _FRAMES:
                held.frames = together(held.frames)
        else:
            self.paced[stream].frames.append(frame)
            self._pace()

    def stream_window(self, stream: int, increment: int) -> bytes | None:
        """The client opened a queued stream's window."""
        held = self._pair.held.get(stream)
        if held is None:
            return None
        held.window += increment
        if held.window > BIGGEST_WINDOW - DEFAULT_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows")
        return NOTHING

    def connection_window(self, increment: int) -> bytes | None:
        """The client opened the connection's window."""
        if self._pair.ready:
            return None
        self._opened += increment
        if self._opened > BIGGEST_WINDOW - DEFAULT_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window overflows")
        return NOTHING

    def afford(self, octets: int) -> bool:
        """Take `octets` of the client's windows for DATA of the relay's own.

        The worker must then be told of a connection window that is so much smaller. That is
        possible only before it is told of any, and only if the client opened more than the
        default; else (False) such DATA could make the worker overrun the client's window.
        """
        if self._pair.ready or min(self._opened, self._pair.terms.client_window) < octets:
            return False
        self._opened -= octets
        return True

    # --- to the worker

    def opened(self) -> bytes:
        """What the worker is to be told first."""
        return wire.window_update(0, self._opened) if self._opened else NOTHING

    def release(self, held: Held) -> list[bytes]:
        """What follows `held`'s request block now; the rest is paced by the worker's window."""
        out = [wire.window_update(held.stream, held.window)] if held.window else []
        paced = Paced(held.frames, self._worker_window)
        out += paced.release()
        if paced.frames:
            self._pair.streams[held.stream] |= QUEUED
            self.paced[held.stream] = paced
        return out

    def worker_window(self, window: int) -> None:
        """The worker's INITIAL_WINDOW_SIZE, which also shifts open windows (section 6.9.2)."""
        for paced in self.paced.values():
            paced.window += window - self._worker_window
        self._worker_window = window
        self._pace()

    def worker_opened(self, stream: int, increment: int) -> None:
        if stream in self.paced:
            self.paced[stream].window += increment
            self._pace()

    def _pace(self) -> None:
        for stream, paced in list(self.paced.items()):
            out = paced.release()
            if not paced.frames:
                del self.paced[stream]
                self._pair.streams[stream] &= ~QUEUED
            if out:
                self._pair.client.send(b"".join(out))

    def drop(self, stream: int) -> bool:
        """`stream` is over; whether the worker has still not had all of it."""
        paced = self.paced.pop(stream, None)
        if paced is not None:
            self._pair.credit(paced.octets)
        return paced is not None
