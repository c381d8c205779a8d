"""Flow control where the door itself stands between client and worker (RFC 9113 section 5.2).

Once paired, windows are between client and worker and the door only passes them on. Kept here is
what that leaves out:

- what the client sent before its worker was there, its window updates included;
- what the worker's window does not take yet of that (`pacing`);
- the connection's window towards the client, which the worker does not own alone: the node's own
  services answer on the same connection. The worker does not know what they took of it. That is
  repaid out of the client's next window updates; until then the worker's DATA is measured, and
  waits here where it would be more than the client takes.

Nothing here knows of streams' owners or sockets: frames go out through a function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from torpor_router.h2 import wire
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.scanner import Work
from torpor_router.h2.wire import BIGGEST_WINDOW, DEFAULT_WINDOW, ErrorCode
from torpor_router.relay.pacing import Paced
from torpor_router.relay.streams import QUEUED

Write = Callable[[bytes], None]


class Measured(Protocol):
    """Whose DATA goes to the client: the worker's leg, or nobody yet."""

    data_octets: int
    metered: bool


class _Waiting(NamedTuple):
    frame: bytes
    octets: int  # of DATA in it
    own: bool  # the door's own, and not the worker's


class Credit:
    """Octets of a peer's DATA that nobody reads: it gets them back on the connection's window.

    They are added up, so that a read of many small frames is answered by one WINDOW_UPDATE.
    """

    __slots__ = ("_octets", "_work", "_write")

    def __init__(self, work: Work, write: Write) -> None:
        self._work = work
        self._write = write
        self._octets = 0

    def __repr__(self) -> str:
        return f"<Credit of {self._octets} octets>"

    def add(self, octets: int) -> None:
        self._octets += octets
        self._work.due = True

    def give(self) -> None:
        octets, self._octets = self._octets, 0
        if octets:
            self._write(wire.window_update(0, octets))


class ClientWindow:
    """The connection's window towards one client, shared by its worker and the door itself.

    `room` octets may be sent to the client now. Frames that do not fit wait in their order, and
    what comes behind them too.
    """

    __slots__ = ("_granted", "_own", "_unpaid", "_waiting", "_worker", "_write")

    def __init__(self, write: Write) -> None:
        self._write = write
        self._granted = DEFAULT_WINDOW  # by the client, ever
        self._own = 0  # octets of DATA, ever, that the present worker has not sent
        self._unpaid = 0  # of them, those which the worker believes that it may still send
        self._waiting: deque[_Waiting] = deque()
        self._worker: Measured | None = None

    def __repr__(self) -> str:
        return f"<ClientWindow {self.room} left, {self._unpaid} unpaid, {self.waiting} wait>"

    @property
    def sent(self) -> int:
        """Octets of DATA that the client was sent, ever."""
        return self._own + (self._worker.data_octets if self._worker is not None else 0)

    @property
    def room(self) -> int:
        return self._granted - self.sent

    @property
    def waiting(self) -> int:
        """Frames that wait for room."""
        return len(self._waiting)

    def worker_ready(self, worker: Measured) -> bytes:
        """The worker may send from now on; what it is to hear of the window first."""
        self._own = self.sent  # what an earlier one has sent is none of its own
        more = self._granted - self._own - DEFAULT_WINDOW
        self._worker = worker
        self._unpaid = max(0, -more)
        self._meter()
        return wire.window_update(0, more) if more > 0 else b""

    def send(self, frame: bytes, octets: int = 0) -> None:
        """Write a frame of the door's own, with so many octets of DATA, once there is room."""
        if self._waiting or octets > self.room:
            self._waiting.append(_Waiting(frame, octets, own=True))
            self._meter()
        else:
            self._spend(octets)
            self._write(frame)

    def pass_on(self, frame: bytes, octets: int = 0) -> bytes:
        """A frame of the worker's, while its DATA is measured; what of it goes on now."""
        assert self._worker is not None
        if self._waiting or octets > self.room:
            self._waiting.append(_Waiting(frame, octets, own=False))
            return b""
        self._worker.data_octets += octets
        return frame

    def opened(self, increment: int) -> int:
        """The client opened the window; by how much it is open for the worker.

        Raises:
            ConnectionFault: FLOW_CONTROL_ERROR, over 2^31-1 (section 6.9.1).
        """
        self._granted += increment
        if self.room > BIGGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window overflows")
        if self._worker is None:
            increment = 0
        repaid = min(self._unpaid, increment)
        self._unpaid -= repaid
        while self._waiting and self._waiting[0].octets <= self.room:
            first = self._waiting.popleft()
            if first.own:
                self._spend(first.octets)
            elif self._worker is not None:
                self._worker.data_octets += first.octets
            self._write(first.frame)
        self._meter()
        return increment - repaid

    def take_apart(self) -> None:
        """The client is gone: refer to nobody any more."""
        self._worker = None

    def _spend(self, octets: int) -> None:
        self._own += octets
        if self._worker is not None:
            self._unpaid += octets
            self._meter()

    def _meter(self) -> None:
        if self._worker is not None:
            self._worker.metered = bool(self._unpaid or self._waiting)


class Uploads:
    """What clients sent that the worker's stream windows do not take yet, by stream.

    Keeps the QUEUED bit of each stream's state.
    """

    __slots__ = ("_ahead", "_by_stream", "_credit", "_states", "_unaware", "_window", "_write")

    def __init__(self, states: dict[int, int], credit: Credit, write: Write) -> None:
        self._states = states
        self._credit = credit
        self._write = write
        self._by_stream: dict[int, Paced] = {}
        self._ahead: dict[int, int] = {}  # octets by which clients may send more, by stream
        self._unaware: set[int] = set()  # streams whose client may not know of any window yet
        self._window = DEFAULT_WINDOW  # of a new stream, as the worker has it

    def __repr__(self) -> str:
        return f"<Uploads of {len(self._by_stream)} streams>"

    def __len__(self) -> int:
        return len(self._by_stream)

    def begin(
        self, stream: int, frames: list[bytes], ahead: int = 0, *, unaware: bool = False
    ) -> list[bytes]:
        """Which of a released stream's `frames` go behind its request at once.

        The client may send `ahead` octets more than the worker's window takes: it is told that
        much less of the worker's window updates. While it is `unaware` of our SETTINGS, it may
        send what the protocol's default window takes.
        """
        paced = Paced(frames, self._window)
        out = paced.release()
        unaware = unaware and self._window < DEFAULT_WINDOW
        if unaware:
            self._unaware.add(stream)
        if ahead:
            self._ahead[stream] = ahead
        if paced.frames or ahead or unaware:
            self._states[stream] |= QUEUED
            self._by_stream[stream] = paced
        return out

    def add(self, stream: int, frame: bytes) -> None:
        """One more frame of a stream that is paced."""
        paced = self._by_stream[stream]
        paced.frames.append(frame)
        self._release(stream, paced)

    def opened(self, stream: int, increment: int) -> int:
        """The worker opened a paced stream's window; by how much it is open for the client."""
        paced, ahead = self._by_stream[stream], self._ahead.get(stream, 0)
        paced.window += increment
        repaid = min(ahead, increment)
        if repaid:
            self._ahead[stream] = ahead - repaid
        self._release(stream, paced)
        return increment - repaid

    def initial_window(self, window: int) -> None:
        """The worker's INITIAL_WINDOW_SIZE, which also shifts open windows (section 6.9.2)."""
        for paced in self._by_stream.values():
            paced.window += window - self._window
        self._window = window
        for stream, paced in list(self._by_stream.items()):
            self._release(stream, paced)

    def aware(self) -> None:
        """The client has acknowledged our SETTINGS: it sends no more than windows allow."""
        unaware, self._unaware = self._unaware, set()
        for stream in unaware:
            self._release(stream, self._by_stream[stream])

    def drop(self, stream: int) -> bool:
        """Nothing more of the stream goes to the worker; whether something waited."""
        self._ahead.pop(stream, None)
        self._unaware.discard(stream)
        paced = self._by_stream.pop(stream, None)
        if paced is not None:
            self._credit.add(paced.octets)
        return paced is not None and bool(paced.frames)

    def _release(self, stream: int, paced: Paced) -> None:
        out = paced.release()
        if not (paced.frames or self._ahead.get(stream) or stream in self._unaware):
            del self._by_stream[stream]
            self._ahead.pop(stream, None)
            self._states[stream] &= ~QUEUED
        if out:
            self._write(b"".join(out))
