"""What every leg reads alike: the forms of the connection's own frames (RFC 9113 section 6)."""

from __future__ import annotations

from abc import abstractmethod

from torpor_router.h2 import settings
from torpor_router.h2.blocks import HeaderLimits
from torpor_router.h2.faults import ConnectionFault, TooManyFields
from torpor_router.h2.fields import Field
from torpor_router.h2.scanner import FrameScanner, Parts, protocol_error
from torpor_router.h2.wire import ACK, STREAM_MASK, ErrorCode, u32
from torpor_router.limits import Limits
from torpor_router.relay.ports import Wire
from torpor_router.relay.streams import Streams


class Leg(FrameScanner):
    """One of the connections that meet in a pair. `out` is where its frames go, if anywhere."""

    __slots__ = ("_streams", "out")

    out: Wire | None

    def __init__(self, streams: Streams, limits: Limits) -> None:
        header_limits = HeaderLimits(limits.header_octets, limits.header_fields)
        super().__init__(streams.states, streams.close, streams, header_limits)
        self._streams = streams

    def pass_on(self, parts: Parts) -> None:
        out = self.out
        if out is None:
            return
        try:
            if len(parts) == 1:
                out.write(parts[0])
            else:
                out.writelines(parts)
        except RuntimeError:  # uvloop's, of a handle that is closed; connection_lost is to follow
            if not out.is_closing():
                raise

    def stateless_block(self, block: bytes) -> bytes:
        """The same fields in octets that depend on no table.

        Raises:
            ConnectionFault: COMPRESSION_ERROR, or a list over the limits.
        """
        return b"".join(field.wire for field in self.answer_fields(block))

    def answer_fields(self, block: bytes) -> list[Field]:
        """The fields of an answer.

        Raises:
            ConnectionFault: as `stateless_block`.
        """
        try:
            return self.fields(block)
        except TooManyFields as error:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "the answer's header fields are over the limit"
            ) from error

    # --- what a leg makes of it

    @abstractmethod
    def settings(self, values: settings.Values) -> bytes | None:
        """SETTINGS came; what goes on instead, as from a handler."""

    @abstractmethod
    def acknowledged(self) -> bytes | None:
        """SETTINGS were acknowledged; what goes on instead, as from a handler."""

    @abstractmethod
    def goaway(self, last: int, rest: bytes) -> bytes | None:
        """GOAWAY came: the last stream it names, and the code with what follows it."""

    # --- handlers

    def on_settings(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("SETTINGS on a stream")
        if not flags & ACK:
            return self.settings(settings.parse(payload))
        if payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload")
        return self.acknowledged()

    def on_goaway(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY size")
        return self.goaway(u32(payload, 0) & STREAM_MASK, payload[4:])

    def on_push_promise(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        raise protocol_error("PUSH_PROMISE, which is switched off")

    def on_continuation(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        raise protocol_error("CONTINUATION without HEADERS")
