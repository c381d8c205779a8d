"""The client's leg: reads what the client sends."""

from __future__ import annotations

from torpor_provisioner.errors import TorporError
from torpor_router.errors import HeadersTooLarge
from torpor_router.h2 import settings, wire
from torpor_router.h2.faults import ConnectionFault, StreamFault, TooManyFields
from torpor_router.h2.fields import Field
from torpor_router.h2.requests import check_grpc, check_request, check_trailers
from torpor_router.h2.scanner import NOTHING, protocol_error
from torpor_router.h2.wire import (
    ACK,
    BIGGEST_WINDOW,
    END_HEADERS,
    END_STREAM,
    STREAM_MASK,
    ErrorCode,
    Kind,
    pack_header,
    u32,
)
from torpor_router.relay.abuse import AbuseLimits
from torpor_router.relay.leg import Leg
from torpor_router.relay.pacing import data_frames
from torpor_router.relay.parts import Parts
from torpor_router.relay.ports import Upstream
from torpor_router.relay.request_cache import CachedRequest, RequestCache
from torpor_router.relay.streams import CLIENT_ENDED, EARLY, HELD, NODE, QUEUED, WORKER_ENDED


class ClientLeg(Leg):
    """Takes what follows the connection preface.

    `fast` says that the pair is ready and nobody waits: a request on which it was decided before
    then makes no objects, and waits for nothing.
    """

    __slots__ = (
        "_abuse",
        "_answerer",
        "_binding",
        "_by_block",
        "_credit",
        "_early",
        "_exchange",
        "_holding",
        "_limits",
        "_node",
        "_pair",
        "_uploads",
        "_window",
        "answers",
        "cache",
        "fast",
    )

    own_end = CLIENT_ENDED
    other_end = WORKER_ENDED
    slow_path = CLIENT_ENDED | QUEUED | NODE

    def __init__(self, pair: Upstream, parts: Parts) -> None:
        super().__init__(parts.streams, parts.limits)
        self._pair = pair
        self._limits = parts.limits
        self._binding = parts.binding
        self._exchange = parts.exchange
        self._window = parts.window
        self._credit = parts.credit
        self._uploads = parts.uploads
        self._holding = parts.holding
        self._node = parts.node
        self._early = parts.early
        self._answerer = parts.answerer
        self._abuse = AbuseLimits(parts.limits, parts.clock)
        self.out = None  # the worker's side, once there
        self.cache = RequestCache(self.header_limits, parts.streams.methods)
        self._by_block = self.cache.by_block
        self.fast = False
        self.answers: list[bytes] = []  # of the door's own, to what is being read

    def __repr__(self) -> str:
        return f"<ClientLeg {self._streams!r}>"

    def stream_fault(self, stream: int, fault: StreamFault) -> None:
        self._abuse.fault()
        self._pair.reset_both(stream, fault)

    def push(self) -> None:
        super().push()
        if self.answers:
            self._pair.answer(self.answers)
            self.answers.clear()

    def after_read(self) -> None:
        self._pair.run_due()

    # --- streams

    def on_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        streams = self._streams
        if self.fast and stream == streams.last + 2:
            cached = self._by_block.get(payload)
            if cached is None and self.stateless:
                cached = self.cache.find(payload)
            if cached is not None and self._enter(cached):
                streams.last = stream
                flags &= END_STREAM
                self.states[stream] = cached.method | flags  # CLIENT_ENDED is END_STREAM
                if cached.word < self._exchange.worker_word:
                    return pack_header(cached.word, flags | END_HEADERS, stream) + cached.block
                most = self._exchange.worker_frame
                ended = bool(flags)
                return wire.headers(stream, cached.block, end_stream=ended, max_frame=most)
        return self._on_other_headers(stream, payload, ended=bool(flags & END_STREAM))

    def _enter(self, cached: CachedRequest) -> bool:
        """Count one more stream in, if what was decided before still stands."""
        room = len(self.states) < self._exchange.most_streams
        return room and self._binding.enter_again(cached.decision)

    def _on_other_headers(self, stream: int, block: bytes, *, ended: bool) -> bytes | None:
        if stream in self._streams.closed or self._streams.cut_by_goaway(stream):
            return self._on_late_trailers(stream, block, ended=ended)
        try:
            fields = self.fields(block)
        except TooManyFields:
            fields = None
        state = self.states.get(stream)
        if state is not None:
            return self._on_trailers(stream, state, fields, ended=ended)
        self._streams.check_new(stream)
        if self._streams.above_goaway(stream):
            return NOTHING
        try:
            if fields is None:
                octets, count = self.header_limits
                raise HeadersTooLarge(f"over {octets} octets or {count} fields")
            self._open(stream, fields, ended=ended)
        except TorporError as error:
            count = self.header_limits.fields if fields is None else len(fields)
            self._abuse.refusal(len(block), count)
            self._answerer.refuse(stream, error, ended=ended)
        return NOTHING

    def _open(self, stream: int, fields: list[Field], *, ended: bool) -> None:
        check_request(fields)
        if len(self.states) >= self._limits.streams_per_connection:
            raise StreamFault(ErrorCode.REFUSED_STREAM, "over MAX_CONCURRENT_STREAMS")
        check_grpc(fields)
        self._pair.open(stream, fields, ended=ended)

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
        if state & NODE:
            self._node.upload(stream, [frame], octets=0, ended=True)
        elif state & QUEUED:
            self._keep(stream, state, frame, octets=0, ended=True)
        else:
            self._streams.end_by_client(stream)
            return frame
        return NOTHING

    def _keep(self, stream: int, state: int, frame: bytes, *, octets: int, ended: bool) -> None:
        """A frame that must wait for the worker, or for its window."""
        if state & HELD:
            held = self._streams.held[stream]
            self._holding.keep(held, frame, octets=octets, ended=ended, paired=self._pair.ready)
            return
        self._uploads.add(stream, frame)
        if ended:
            self._streams.end_by_client(stream)

    def _on_late_trailers(self, stream: int, block: bytes, *, ended: bool) -> bytes | None:
        """Trailers that were under way while the door closed their stream; or a broken client's.

        Nobody reads them, but the block may still change the client's table.
        """
        self._check_late(stream)
        self._abuse.control()
        if not self.stateless:
            self._skip(block)
        if not ended:
            raise protocol_error("trailers without END_STREAM")
        if stream in self._streams.closed:
            self._streams.closed[stream] = CLIENT_ENDED
        return NOTHING

    def _skip(self, block: bytes) -> None:
        try:
            self.fields(block)
        except TooManyFields:
            return  # it was decoded all the same

    def _check_late(self, stream: int) -> None:
        """
        Raises:
            ConnectionFault: the client had ended the stream before (section 5.1, "closed").
        """
        if self._streams.closed.get(stream):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a frame behind END_STREAM")

    def on_data(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        """DATA off the fast path: of a waiting, refused, ended, closed or padded stream."""
        octets, ended = len(payload), flags & END_STREAM
        data = self.unpadded(flags, payload)
        state = self.states.get(stream)
        if state is None:
            return self._on_late_data(stream, octets, ended=bool(ended))
        if not octets and not ended:
            self._abuse.control()
        if state & CLIENT_ENDED:
            self._credit.add(octets)
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        if state & (QUEUED | NODE):
            self._on_kept_data(stream, state, data, octets, end=ended)
            return NOTHING
        self.data_octets += octets
        if ended:
            self._streams.end_by_client(stream)
        return None

    def _on_kept_data(self, stream: int, state: int, data: bytes, octets: int, *, end: int) -> None:
        """DATA that stays here for now. Its padding goes no further, and is given back."""
        if octets > len(data):
            self._credit.add(octets - len(data))
            self._pair.to_client(wire.window_update(stream, octets - len(data)))
        if state & NODE:
            frames = data_frames(stream, data, end=end)
            self._node.upload(stream, frames, octets=len(data), ended=bool(end))
        else:
            frame = wire.frame(Kind.DATA, end, stream, data)
            self._keep(stream, state, frame, octets=len(data), ended=bool(end))

    def _on_late_data(self, stream: int, octets: int, *, ended: bool) -> bytes | None:
        """DATA that was under way while its stream was reset or refused; or a broken client's.

        It is dropped and given back to the connection's window. The worker never sees it, so
        its idea of that window stays the client's.
        """
        self._check_opened(stream, "DATA")
        self._check_late(stream)
        self._abuse.control()
        self._credit.add(octets)
        if stream in self._streams.closed:
            self._streams.closed[stream] = CLIENT_ENDED if ended else 0
        elif not self._streams.above_goaway(stream):
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
        return NOTHING

    def on_rst_stream(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._check_opened(stream, "RST_STREAM")
        state, passes = self.states.get(stream), False
        if state is None:
            self._abuse.control()
            self._early.drop(stream)
        else:
            self._abuse.reset()  # may end the connection: the stream is still to be counted out
            passes = self._pair.reset_by_client(stream, state)
        self._streams.closed.pop(stream, None)  # the client knows: nothing of it is under way
        return None if passes else NOTHING

    def _check_opened(self, stream: int, what: str) -> None:
        if stream == 0 or not stream & 1 or stream > self._streams.last:
            raise protocol_error(f"{what} on an idle stream")

    # --- the rest

    def on_window_update(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        increment = u32(payload, 0) & BIGGEST_WINDOW
        self._abuse.answer(self._window.sent)
        if stream == 0:
            if not increment:
                raise protocol_error("WINDOW_UPDATE of 0")
            return self._on_connection_window(increment)
        state = self.states.get(stream)
        if state is None:
            self._check_opened(stream, "WINDOW_UPDATE")
            if increment and stream in self._early:  # the worker has ended it, and not all has gone
                self._early.opened(stream, increment)
            return NOTHING
        if not increment:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        if state & NODE:
            self._node.open_window(stream, increment)
            return NOTHING
        if state & HELD:
            self._holding.open_window(self._streams.held[stream], increment)
            return NOTHING
        if state & EARLY:
            return self._instead(stream, increment, self._early.opened(stream, increment))
        return None

    def _on_connection_window(self, increment: int) -> bytes | None:
        passes = self._window.opened(increment)
        if self._streams.retiring:
            self._streams.due = True  # the last that waited may have gone
        self._node.client_has_room()
        return self._instead(0, increment, passes)

    @staticmethod
    def _instead(stream: int, increment: int, passes: int) -> bytes | None:
        """What the worker gets of a WINDOW_UPDATE, by so much less."""
        if passes == increment:
            return None
        return wire.window_update(stream, passes) if passes else NOTHING

    def settings(self, values: settings.Values) -> bytes | None:
        self._abuse.settings()
        return self._pair.client_settings(values)

    def acknowledged(self) -> bytes | None:
        if self._exchange.client_acks:
            self._exchange.client_acks -= 1
            self.settings_acknowledged()
            self._uploads.aware()
            return NOTHING
        self._abuse.control()
        return self._if_paired()

    def on_ping(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("PING on a stream")
        self._abuse.answer(self._window.sent)
        if not flags & ACK and not self._passes_pings():
            self._pair.to_client(wire.ping_ack(payload))
            return NOTHING
        return self._if_paired()

    def _passes_pings(self) -> bool:
        """Whether the worker answers the client's PINGs.

        A client that reads the node's answers sends PINGs for them (grpc-go does, to measure its
        bandwidth). A worker that itself has sent nothing counts them as offences and ends the
        connection with ENHANCE_YOUR_CALM.
        """
        return self._pair.ready and not self._node.used

    def goaway(self, last: int, rest: bytes) -> bytes | None:
        self._abuse.control()
        return self._if_paired()

    def on_priority(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream == 0:
            raise protocol_error("PRIORITY on stream 0")
        self._abuse.control()
        if u32(payload, 0) & STREAM_MASK == stream:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
        return NOTHING  # deprecated (RFC 9113 section 5.3.2), and names streams we may drop

    def on_unknown(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._abuse.control()
        return self._if_paired()

    def _if_paired(self) -> bytes | None:
        return None if self._pair.ready else NOTHING
