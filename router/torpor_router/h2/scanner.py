"""Reads frames by their headers alone, and passes what needs no touching in one piece.

`feed` takes octets as they came from the socket, in any cutting. A handler (`h2.handlers`) says of
each frame what goes on to the other peer: None for "as it is", or other octets (none, to drop it).
Neighbouring frames that pass as they are leave as one slice of what came in, so a large read of
DATA costs one look at nine octets a frame and no copy.

Frames pass whole, never in part: between any two writes, either peer can be sent something else.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import ClassVar, Final, Protocol

from torpor_router.h2.blocks import Fields, HeaderLimits, StatefulDecoder, split
from torpor_router.h2.faults import ConnectionFault, StreamFault
from torpor_router.h2.fields import Field
from torpor_router.h2.handlers import FrameHandlers
from torpor_router.h2.wire import (
    DEFAULT_MAX_FRAME,
    END_HEADERS,
    END_STREAM,
    HEADER_SIZE,
    PADDED,
    PRIORITIZED,
    STREAM_MASK,
    ErrorCode,
    Kind,
    unpack_header,
)

Parts = list[bytes | memoryview]

NOTHING: Final = b""

_FRAME_SIZES: dict[int, int] = {
    Kind.PRIORITY: 5,
    Kind.RST_STREAM: 4,
    Kind.PING: 8,
    Kind.WINDOW_UPDATE: 4,
}
_PLAIN_BLOCK: Final = END_HEADERS | PADDED | PRIORITIZED
_LOOK: Final = 2_048  # octets of frames that need a handler, between two looks at the clock
_FEW: Final = 4  # parts that are written as they are; to gather more costs less than to write each
_NO_STREAMS: dict[int, int] = {}
_CONTINUATIONS: Final = 128  # in one block; the block's size is limited besides


def protocol_error(why: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, why)


class Work(Protocol):
    """What handlers may leave to be done when a read has been handled."""

    due: bool


class FrameScanner(FrameHandlers):
    """One peer's frames. `states` has a word of bits for each stream that is open.

    A subclass names three of the bits: `own_end`, set when this peer ends a stream; `other_end`,
    set when the other one does; and `slow_path`, which take a DATA frame off the fast path.
    `stream_ended` is called with a stream that both peers have ended, to take it out of `states`.
    """

    __slots__ = (
        "_block_limit",
        "_need",
        "_own_fields",
        "_tail",
        "data_octets",
        "decoder",
        "greeted",
        "header_limits",
        "metered",
        "parts",
        "progress",
        "scanning",
        "stateless",
        "states",
        "stream_ended",
        "word_limit",
        "work",
    )

    own_end: ClassVar[int]
    other_end: ClassVar[int]
    slow_path: ClassVar[int]

    def __init__(
        self,
        states: dict[int, int],
        stream_ended: Callable[[int], object],
        work: Work,
        header_limits: HeaderLimits,
    ) -> None:
        self.states = states
        self.stream_ended = stream_ended
        self.work = work
        self.parts: Parts = []  # on their way to the other peer
        self.scanning = False
        self.stateless = False  # the peer has acknowledged HEADER_TABLE_SIZE=0
        self.decoder: StatefulDecoder | None = None
        self._own_fields: Fields = {}
        self.allow_frames(DEFAULT_MAX_FRAME)
        self.header_limits = header_limits
        # a block may be larger than its fields are together: Huffman coding can lengthen them
        self._block_limit = 2 * header_limits.octets
        self.metered = False  # no DATA passes on the fast path
        self.data_octets = 0  # of DATA that has passed, padding included
        self.greeted = False  # the peer's first SETTINGS have come
        self.progress = 0  # reads that completed a frame
        self._tail = bytearray()
        self._need = 0

    @abstractmethod
    def pass_on(self, parts: Parts) -> None:
        """Write to the other peer. The list is the scanner's again afterwards."""

    @abstractmethod
    def after_read(self) -> None:
        """Do what is due, now that a read has been handled and what passes has been written."""

    @abstractmethod
    def stream_fault(self, stream: int, fault: StreamFault) -> None:
        """The peer broke a rule of this stream's."""

    def allow_frames(self, size: int) -> None:
        """The peer has been told that it may send frames with payloads of `size` octets."""
        self.word_limit = (size + 1) << 8

    @property
    def unfinished(self) -> int | None:
        """The kind of the frame that has come in part; -1 while its header is incomplete."""
        if not self._tail:
            return None
        return self._tail[3] if len(self._tail) >= HEADER_SIZE else -1

    def feed(self, data: bytes, until: float = inf) -> bytes:
        """Read what came from the peer, in whatever pieces.

        Returns what is not read by the time that the clock (`perf_counter`) says `until`: it is
        to be fed first the next time.

        Raises:
            ConnectionFault: the peer broke a rule of the connection's; what came before it has
                been passed on.
        """
        self.scanning = True
        try:
            at = self._rejoin(data, until) if self._tail else self._scan(data, 0, until)
        finally:
            self.scanning = False
            self.push()
        if self.work.due:
            self.after_read()
        return data[at:]

    def push(self) -> None:
        """Let go of what has been gathered for the other peer, in one write."""
        parts = self.parts
        if parts:
            if len(parts) > _FEW:
                parts[:] = (b"".join(parts),)
            self.pass_on(parts)
            parts.clear()

    def send(self, data: bytes) -> None:
        """Add `data` to what goes to the other peer, behind all that has been passed before."""
        self.parts.append(data)
        if not self.scanning:
            self.push()

    def _rejoin(self, data: bytes, until: float) -> int:
        """Complete the frame that was cut, by itself, so that the rest need not be copied."""
        at = 0
        while self._tail:
            missing = self._need - len(self._tail)
            piece = data[at : at + missing]
            self._tail += piece
            at += len(piece)
            if len(piece) < missing:
                return at
            whole = bytes(self._tail)
            self._tail.clear()
            self._scan(whole, 0, inf)
        return self._scan(data, at, until) if at < len(data) else at

    def _scan(self, data: bytes, pos: int, until: float) -> int:  # noqa: C901, PLR0912, PLR0915 - calls cost more than the work
        """Handle the frames from `pos` on; returns where it stopped because it was time."""
        if not self.greeted and len(data) - pos >= HEADER_SIZE:
            self._greet(data, pos)
        parts = self.parts
        states = _NO_STREAMS if self.metered else self.states
        state_of = states.get
        slow_path, own_end, other_end = self.slow_path, self.own_end, self.other_end
        word_limit = self.word_limit  # what this peer sends does not change it
        word: int
        flags: int
        stream: int
        passed = 0  # the first words of the DATA frames passed, added up: their sizes << 8
        run, end, need = pos, len(data), HEADER_SIZE
        look_at = end if until == inf else pos + _LOOK  # where to look at the clock next
        view: memoryview | None = None
        try:
            while end - pos >= 9:
                word, flags, stream = unpack_header(data, pos)
                if word >= word_limit:
                    raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame over MAX_FRAME_SIZE")
                next_ = pos + 9 + (word >> 8)
                if next_ > end:
                    need = next_ - pos
                    break
                kind = word & 0xFF
                if not kind:
                    state = state_of(stream)
                    if state is not None and word and not (state & slow_path or flags & PADDED):
                        passed += word
                        pos = next_
                        if flags & END_STREAM:
                            if state & other_end:
                                self.stream_ended(stream)
                            else:
                                states[stream] = state | own_end
                        continue
                elif kind == 1 and not flags & END_HEADERS:
                    next_ = self._block_end(data, stream, next_)
                    if next_ > end:
                        need = next_ - pos
                        break
                if run < pos:
                    # A handler may itself add to what goes on; what stands before it goes first.
                    if view is None:
                        view = memoryview(data)
                    parts.append(view[run:pos])
                    run = pos
                if kind == 1 and flags & _PLAIN_BLOCK == END_HEADERS:
                    payload = data[pos + 9 : next_]
                else:
                    payload = self._payload(kind, flags, data, pos, next_)
                try:
                    if kind == 1:
                        instead = self.on_headers(flags, stream & STREAM_MASK, payload)
                    else:
                        instead = self.on_frame(kind, flags, stream & STREAM_MASK, payload)
                except StreamFault as fault:
                    self.stream_fault(stream & STREAM_MASK, fault)
                    instead = NOTHING
                pos = next_
                if instead is not None:
                    run = pos
                    if instead:
                        parts.append(instead)
                if look_at <= pos < end:
                    if perf_counter() > until:
                        need = 0
                        break
                    look_at = pos + _LOOK
        finally:  # also before a fault: what came before it has been counted, and passes
            if run < pos:
                whole = run == 0 and pos == len(data)
                parts.append(data if whole else (view or memoryview(data))[run:pos])
            if passed:
                self.data_octets += passed >> 8
        if pos:
            self.progress += 1
        if not need:
            return pos
        if pos < end:
            self._tail += data[pos:] if pos else data
            self._need = need
        return end

    def _payload(self, kind: int, flags: int, data: bytes, pos: int, end: int) -> bytes:
        if kind == 1:
            return self._block(flags, data, pos, end)
        size = _FRAME_SIZES.get(kind)
        if size is not None and end - pos - HEADER_SIZE != size:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{Kind(kind).name} size")
        return data[pos + HEADER_SIZE : end]

    def _greet(self, data: bytes, pos: int) -> None:
        word, flags, _ = unpack_header(data, pos)
        if word & 0xFF != Kind.SETTINGS or flags & 1:
            raise protocol_error("the first frame is not SETTINGS")
        self.greeted = True

    def _block_end(self, data: bytes, stream: int, at: int) -> int:
        """Where the last CONTINUATION of a block ends, or how far must be read to know.

        HEADERS and its CONTINUATIONs are taken as one unit (RFC 9113 section 6.10).
        """
        size = frames = 0
        while len(data) - at >= HEADER_SIZE:
            word, flags, owner = unpack_header(data, at)
            if word & 0xFF != Kind.CONTINUATION or owner & STREAM_MASK != stream & STREAM_MASK:
                raise protocol_error("a header block was interrupted")
            if word >= self.word_limit:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame over MAX_FRAME_SIZE")
            size += word >> 8
            frames += 1
            if size > self._block_limit or frames > _CONTINUATIONS:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block over the limit")
            at += HEADER_SIZE + (word >> 8)
            if at > len(data) or flags & END_HEADERS:
                return at
        return at + HEADER_SIZE

    def _block(self, flags: int, data: bytes, pos: int, end: int) -> bytes:
        """The header block of the unit from `pos` to `end`, without padding and priority."""
        word = unpack_header(data, pos)[0]
        start, stop = pos + HEADER_SIZE, pos + HEADER_SIZE + (word >> 8)
        first = data[start : self._unpad(flags, data, start, stop)]
        if flags & PADDED:
            first = first[1:]
        if flags & PRIORITIZED:
            if len(first) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS priority is cut short")
            first = first[5:]
        if stop == end:
            return first
        parts = [first]
        while stop < end:
            word = unpack_header(data, stop)[0]
            parts.append(data[stop + HEADER_SIZE : stop + HEADER_SIZE + (word >> 8)])
            stop += HEADER_SIZE + (word >> 8)
        return b"".join(parts)

    def unpadded(self, flags: int, payload: bytes) -> bytes:
        """The payload of a DATA frame without its padding."""
        if not flags & PADDED:
            return payload
        return payload[1 : self._unpad(flags, payload, 0, len(payload))]

    @staticmethod
    def _unpad(flags: int, data: bytes, start: int, stop: int) -> int:
        if not flags & PADDED:
            return stop
        if stop == start:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PADDED frame without pad length")
        if data[start] >= stop - start:
            raise protocol_error("padding is longer than its frame")
        return stop - data[start]

    def fields(self, block: bytes) -> list[Field]:
        """The fields of the next block, by whichever rules hold for this peer now.

        Raises:
            ConnectionFault: COMPRESSION_ERROR, or far too long.
            TooManyFields: too long.
        """
        if self.stateless:
            return split(block, self.header_limits, self._own_fields)
        if self.decoder is None:
            self.decoder = StatefulDecoder(self.header_limits, self._own_fields)
        return self.decoder.split(block)

    def settings_acknowledged(self) -> None:
        """From the next block on, nothing depends on what came before."""
        self.stateless = True
        self.decoder = None
