"""The satellite's leg: reads what the worker sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor_router.h2 import settings, wire
from torpor_router.h2.faults import ConnectionFault, StreamFault, TooManyFields
from torpor_router.h2.scanner import (
    CLIENT_ENDED,
    HELD,
    NOTHING,
    QUEUED,
    RESPONDED,
    TAGGED,
    WORKER_ENDED,
    FrameScanner,
    Handler,
    Parts,
    protocol_error,
)
from torpor_router.h2.wire import (
    ACK,
    BIGGEST_WINDOW,
    END_STREAM,
    STREAM_MASK,
    ErrorCode,
    u32,
)
from torpor_router.relay.context import Wire

if TYPE_CHECKING:
    from torpor_router.relay.pair import Pair

_BLOCK_LIMIT = 1 << 20  # of a worker's header block, in octets; the client has its own say


class WorkerLeg(FrameScanner):
    """One connection to the worker, from its first SETTINGS on."""

    __slots__ = ("acks_due", "out", "pair", "wire")

    ended = WORKER_ENDED
    other_ended = CLIENT_ENDED
    odd = WORKER_ENDED | HELD

    def __init__(self, pair: Pair, streams: dict[int, int], *, worker: Wire, client: Wire) -> None:
        super().__init__(streams, block_limit=_BLOCK_LIMIT, list_limit=4 * _BLOCK_LIMIT)
        self.pair = pair
        self.wire = worker
        self.out = client
        self.acks_due = 1  # of the SETTINGS in our greeting

    def __repr__(self) -> str:
        return f"<WorkerLeg {'ready' if self.pair.ready else 'greeting'}>"

    def pass_on(self, parts: Parts) -> None:
        if len(parts) == 1:
            self.out.write(parts[0])
        else:
            self.out.writelines(parts)

    def stream_over(self, stream: int) -> None:
        self.pair.stream_over(stream)

    def stream_fault(self, stream: int, fault: StreamFault) -> None:
        self.pair.reset_both(stream, fault)

    # --- streams

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        streams = self.streams
        state = streams.get(stream)
        if state is None or state & (WORKER_ENDED | HELD):
            return self._on_late_headers(flags, stream, payload)
        tagged = state & TAGGED
        if flags & END_STREAM:
            if state & CLIENT_ENDED:
                del streams[stream]
                self.pair.stream_over(stream)
            else:
                streams[stream] = (state | RESPONDED | WORKER_ENDED) & ~TAGGED
        elif not state & RESPONDED or tagged:
            streams[stream] = (state | RESPONDED) & ~TAGGED
        if self.stateless and not tagged:
            return None
        block = self._stateless_block(payload)
        if tagged:
            block += self.pair.tags.pop(stream, NOTHING)
        return wire.headers(stream, block, end_stream=bool(flags & END_STREAM))

    def _stateless_block(self, block: bytes) -> bytes:
        if self.stateless:
            return block
        try:
            return b"".join(field.wire for field in self.fields(block))
        except TooManyFields as error:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "the worker's headers are over the limit"
            ) from error

    def _check_opened(self, stream: int) -> None:
        if not 0 < stream <= self.pair.client.last or stream in self.pair.held:
            raise protocol_error("the worker speaks of a stream that it was never sent")

    def _on_late_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        """Under way while the client reset the stream. The block may still change a table."""
        self._check_opened(stream)
        if not self.stateless:
            self._stateless_block(payload)
        return NOTHING

    def _on_data(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        """DATA off the fast path: padded, empty, or of a stream that is closed on this side."""
        self._check_opened(stream)
        self.unpadded(flags, payload)
        state = self.streams.get(stream)
        if state is None:  # reset by the client, or by us: the window it took is given back
            if payload:
                self.pair.client.send(wire.window_update(0, len(payload)))
            return NOTHING
        if state & WORKER_ENDED:
            raise protocol_error("the worker sends DATA after END_STREAM")
        if flags & END_STREAM:
            if state & CLIENT_ENDED:
                del self.streams[stream]
                self.pair.stream_over(stream)
            else:
                self.streams[stream] = state | WORKER_ENDED
        return None

    def _on_rst_stream(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._check_opened(stream)
        if stream not in self.streams:
            return NOTHING
        self.pair.reset_by_worker(stream)
        return None

    def _on_window_update(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream == 0:
            return None
        self._check_opened(stream)
        state = self.streams.get(stream)
        if state is None:
            return NOTHING
        if state & QUEUED:
            self.pair.flow.worker_opened(stream, u32(payload, 0) & BIGGEST_WINDOW)
        return None

    # --- the rest

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if flags & ACK:
            if self.acks_due:
                self.acks_due -= 1
                self.settings_acknowledged()
                return NOTHING
            return None
        return self.pair.terms.from_worker(settings.parse(payload))

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        return None

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY size")
        last = u32(payload, 0) & STREAM_MASK
        return self.pair.worker_goaway(last, payload[4:])

    def _on_priority(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        return NOTHING

    def _on_push_promise(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        raise protocol_error("the worker pushes although it was told not to")

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        raise protocol_error("CONTINUATION without HEADERS")

    def _on_unknown(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        return None

    handlers: ClassVar[tuple[Handler, ...]] = (
        _on_data,
        _on_headers,
        _on_priority,
        _on_rst_stream,
        _on_settings,
        _on_push_promise,
        _on_ping,
        _on_goaway,
        _on_window_update,
        _on_continuation,
        _on_unknown,
    )
