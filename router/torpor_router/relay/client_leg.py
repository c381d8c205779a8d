"""The client's leg: reads what the client sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor_provisioner.errors import TorporError
from torpor_router.errors import HeadersTooLarge, NotGrpc
from torpor_router.h2 import settings, wire
from torpor_router.h2.faults import ConnectionFault, StreamFault, TooManyFields
from torpor_router.h2.fields import Field
from torpor_router.h2.requests import check_request, check_trailers, is_grpc
from torpor_router.h2.scanner import (
    CLIENT_ENDED,
    NOTHING,
    QUEUED,
    WORKER_ENDED,
    FrameScanner,
    Handler,
    Parts,
    protocol_error,
)
from torpor_router.h2.wire import (
    ACK,
    BIGGEST_WINDOW,
    END_HEADERS,
    END_STREAM,
    PADDED,
    STREAM_MASK,
    ErrorCode,
    pack_header,
    u32,
)
from torpor_router.relay.abuse import Floods
from torpor_router.relay.context import Wire
from torpor_router.relay.request_cache import CachedRequest, RequestCache
from torpor_router.relay.rewrite import TIMEOUT

if TYPE_CHECKING:
    from torpor_router.relay.pair import Pair

_FORGIVEN = 256  # streams reset from this side, on which frames may still be under way


class ClientLeg(FrameScanner):
    """`feed` takes what follows the connection preface."""

    __slots__ = (
        "acks_due",
        "exact",
        "floods",
        "forgiven",
        "known",
        "last",
        "out",
        "pair",
        "plain",
    )

    ended = CLIENT_ENDED
    other_ended = WORKER_ENDED
    odd = CLIENT_ENDED | QUEUED

    def __init__(self, pair: Pair, streams: dict[int, int]) -> None:
        limits = pair.relay.limits
        super().__init__(
            streams, block_limit=2 * limits.header_octets, list_limit=limits.header_octets
        )
        self.pair = pair
        self.out: Wire | None = None  # the worker's side, once there
        self.last = 0  # the highest stream the client has opened
        self.plain = False  # paired, nobody waits: a known block needs no more than a look-up
        self.known = RequestCache()  # by the block apart from its timeout
        self.exact = RequestCache()  # by the whole block
        self.acks_due = 1  # of SETTINGS that are the relay's own
        self.forgiven: dict[int, None] = {}
        self.floods = Floods(limits, pair.relay.clock)

    def __repr__(self) -> str:
        return f"<ClientLeg {len(self.streams)} streams, last {self.last}>"

    def pass_on(self, parts: Parts) -> None:
        if self.out is None:
            return
        if len(parts) == 1:
            self.out.write(parts[0])
        else:
            self.out.writelines(parts)

    def stream_over(self, stream: int) -> None:
        self.pair.stream_over(stream)

    def stream_fault(self, stream: int, fault: StreamFault) -> None:
        self.floods.fault()
        self.forgive(stream)
        self.pair.reset_both(stream, fault)

    def forgive(self, stream: int) -> None:
        self.forgiven[stream] = None
        if len(self.forgiven) > _FORGIVEN:
            del self.forgiven[next(iter(self.forgiven))]

    # --- streams

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if self.plain and stream > self.last and stream & 1:
            known = self.exact.get(payload)
            if known is not None and self.pair.enter(known):
                self.last = stream
                self.streams[stream] = flags & END_STREAM
                return (
                    pack_header(known.word, flags & END_STREAM | END_HEADERS, stream) + known.block
                )
        return self._on_other_headers(stream, payload, ended=bool(flags & END_STREAM))

    def _on_other_headers(self, stream: int, block: bytes, *, ended: bool) -> bytes | None:
        try:
            fields = self.fields(block)
        except TooManyFields:
            fields = None
        state = self.streams.get(stream)
        if state is not None:
            return self._on_trailers(stream, state, fields, ended=ended)
        if stream in self.forgiven:
            return NOTHING
        self._check_opening(stream)
        self.last = stream
        if self.pair.beyond(stream):
            return NOTHING
        try:
            if fields is None:
                raise HeadersTooLarge(f"over {self.pair.relay.limits.header_octets} octets")
            return self._open(stream, fields, block, ended=ended)
        except TorporError as error:
            self.floods.fault()
            self.pair.refuse_new(stream, error, ended=ended)
        return NOTHING

    def _open(self, stream: int, fields: list[Field], block: bytes, *, ended: bool) -> bytes | None:
        if self.plain and self.stateless:
            known = self._open_but_for_timeout(fields)
            if known is not None:
                self.exact.keep(block, known)
                self.streams[stream] = END_STREAM if ended else 0
                most = self.pair.terms.worker_frame
                return wire.headers(stream, known.block, end_stream=ended, max_frame=most)
        check_request(fields)
        if len(self.streams) >= self.pair.relay.limits.streams_per_connection:
            raise StreamFault(ErrorCode.REFUSED_STREAM, "over MAX_CONCURRENT_STREAMS")
        if not is_grpc(fields):
            raise NotGrpc
        self.pair.open(stream, fields, ended=ended)
        return NOTHING

    def _open_but_for_timeout(self, fields: list[Field]) -> CachedRequest | None:
        """Count in a request that differs from an earlier one by its timeout alone."""
        timeouts = [field for field in fields if field.name == TIMEOUT]
        if any(field.flaw for field in timeouts):
            return None
        rest = b"".join([octets for name, _, octets, _ in fields if name != TIMEOUT])
        known = self.known.get(rest)
        if known is None or not self.pair.enter(known):
            return None
        block = b"".join((known.block, *(field.wire for field in timeouts)))
        return CachedRequest(known.ask, block, known.tick)

    def _check_opening(self, stream: int) -> None:
        if not stream & 1:
            raise protocol_error("HEADERS on a stream that clients may not open")
        if stream <= self.last:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")

    def _on_trailers(
        self, stream: int, state: int, fields: list[Field] | None, *, ended: bool
    ) -> bytes | None:
        if state & CLIENT_ENDED:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        if not ended:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        if fields is None:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, "trailers over the limit")
        check_trailers(fields)
        frame = wire.headers(stream, b"".join(field.wire for field in fields), end_stream=True)
        if state & QUEUED:
            self.pair.flow.queue(stream, frame, ended=True)
            return NOTHING
        self.end(stream, state)
        return frame

    def _on_data(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        """DATA off the fast path: of a waiting, refused, ended, closed or padded stream."""
        state = self.streams.get(stream)
        octets = len(payload)
        if state is None:
            return self._on_stray_data(stream, octets)
        if not octets and not flags & END_STREAM:
            self.floods.control()
        if flags & PADDED:
            self.unpadded(flags, payload)
        if state & CLIENT_ENDED:
            self.pair.credit(octets)
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        if state & QUEUED:
            self.pair.flow.data(stream, flags, self.unpadded(flags, payload), octets)
            return NOTHING
        if flags & END_STREAM:
            self.end(stream, state)
        return None

    def end(self, stream: int, state: int) -> None:
        """The client has ended a stream that the worker knows."""
        if state & WORKER_ENDED:
            del self.streams[stream]
            self.pair.stream_over(stream)
        else:
            self.streams[stream] = state | CLIENT_ENDED

    def _on_stray_data(self, stream: int, octets: int) -> bytes | None:
        """DATA that was under way while its stream was reset or refused; or a broken client's.

        It is dropped and given back to the connection's window. The worker never sees it, so
        its idea of that window stays the client's.
        """
        self._check_known(stream, "DATA")
        self.pair.credit(octets)
        if stream not in self.forgiven and not self.pair.beyond(stream):
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
        return NOTHING

    def _on_rst_stream(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._check_known(stream, "RST_STREAM")
        state = self.streams.pop(stream, None)
        if state is None:
            return NOTHING
        self.floods.reset()
        if state & QUEUED and self.pair.cancelled(stream):
            return NOTHING
        self.pair.stream_over(stream)
        return None

    def _check_known(self, stream: int, what: str) -> None:
        if stream == 0 or not stream & 1 or stream > self.last:
            raise protocol_error(f"{what} on an idle stream")

    # --- the rest

    def _on_window_update(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        increment = u32(payload, 0) & BIGGEST_WINDOW
        if stream == 0:
            if not increment:
                raise protocol_error("WINDOW_UPDATE of 0")
            return self.pair.flow.connection_window(increment)
        state = self.streams.get(stream)
        if state is None:
            self._check_known(stream, "WINDOW_UPDATE")
            return NOTHING
        if not increment:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        if state & QUEUED:
            return self.pair.flow.stream_window(stream, increment)
        return None

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
            return self._on_settings_ack()
        self.floods.settings()
        values = settings.parse(payload)
        return self.pair.terms.from_client(values)

    def _on_settings_ack(self) -> bytes | None:
        if self.acks_due:
            self.acks_due -= 1
            self.settings_acknowledged()
            return NOTHING
        self.floods.control()
        return None if self.pair.ready else NOTHING

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("PING on a stream")
        self.floods.control()
        if self.pair.ready:
            return None
        if not flags & ACK:
            self.pair.tell_client(wire.ping_ack(payload))
        return NOTHING

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY size")
        self.floods.control()
        return None if self.pair.ready else NOTHING

    def _on_priority(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream == 0:
            raise protocol_error("PRIORITY on stream 0")
        self.floods.control()
        if u32(payload, 0) & STREAM_MASK == stream:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
        return NOTHING  # deprecated (RFC 9113 section 5.3.2), and names streams we may drop

    def _on_push_promise(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        raise protocol_error("PUSH_PROMISE from a client")

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        raise protocol_error("CONTINUATION without HEADERS")

    def _on_unknown(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self.floods.control()
        return None if self.pair.ready else NOTHING

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
