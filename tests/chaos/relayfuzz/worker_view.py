"""The streams as a worker counts them, against what it allows (RFC 9113 section 5.1.2)."""

from __future__ import annotations

from doorkit.frames import Frame, split

from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, Kind, Setting

_CLIENT, _WORKER = 1, 2  # ends of a stream


class WorkerView:
    """Follows both directions of a worker's connection, frame by frame.

    `most` is how many streams the worker allows; `excess` is the first moment at which it was
    sent one more.
    """

    def __init__(self) -> None:
        self.most = wire.BIGGEST_WINDOW
        self.excess = ""
        self._streams: dict[int, int] = {}
        self._last = 0
        self._partial = {_CLIENT: b"", _WORKER: b""}

    def sent_to(self, octets: bytes) -> None:
        """The door wrote `octets` to the worker."""
        for kind, flags, stream, _ in self._frames(_CLIENT, octets.removeprefix(wire.PREFACE)):
            if kind == Kind.HEADERS and stream > self._last:
                self._last = stream
                self._streams[stream] = 0
                if len(self._streams) > self.most and not self.excess:
                    self.excess = f"stream {stream} is one more than {self.most}"
            self._ends(_CLIENT, kind, flags, stream)

    def sent_by(self, octets: bytes) -> None:
        """The worker wrote `octets` to the door."""
        for kind, flags, stream, payload in self._frames(_WORKER, octets):
            if kind == Kind.SETTINGS and not flags & wire.ACK and len(payload) % 6 == 0:
                for at in range(0, len(payload), 6):
                    if int.from_bytes(payload[at : at + 2]) == Setting.MAX_CONCURRENT_STREAMS:
                        self.most = int.from_bytes(payload[at + 2 : at + 6])
            self._ends(_WORKER, kind, flags, stream)

    def _ends(self, end: int, kind: int, flags: int, stream: int) -> None:
        state = self._streams.get(stream)
        if state is None:
            return
        if kind in (Kind.HEADERS, Kind.DATA) and flags & END_STREAM:
            state |= end
        self._streams[stream] = state
        if kind == Kind.RST_STREAM or state == _CLIENT | _WORKER:
            del self._streams[stream]

    def _frames(self, end: int, octets: bytes) -> list[Frame]:
        frames, self._partial[end] = split(self._partial[end] + octets)
        return frames
