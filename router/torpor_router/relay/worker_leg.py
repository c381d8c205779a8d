"""The worker's leg: reads what a satellite's build server sends."""

from __future__ import annotations

from typing import Final

from torpor_provisioner.errors import TorporError
from torpor_router.errors import WorkerProtocol
from torpor_router.h2 import settings, wire
from torpor_router.h2.blocks import split
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.fields import Field
from torpor_router.h2.scanner import NOTHING, protocol_error
from torpor_router.h2.wire import BIGGEST_WINDOW, END_STREAM, Kind, u32
from torpor_router.relay.abuse import AbuseLimits
from torpor_router.relay.leg import Leg
from torpor_router.relay.pacing import data_frames
from torpor_router.relay.parts import Parts
from torpor_router.relay.ports import Downstream, Wire
from torpor_router.relay.streams import (
    CLIENT_ENDED,
    EARLY,
    HELD,
    NODE,
    QUEUED,
    RESPONDED,
    TAGGED,
    WATCHED,
    WORKER_ENDED,
)
from torpor_router.relay.trailers import as_trailers, check_left_out, is_interim
from torpor_router.relay.windows import Measured

_NOT_ITS_OWN: Final = HELD | NODE  # streams that the worker was never sent
_LATE: Final = WORKER_ENDED | _NOT_ITS_OWN
_SPECIAL: Final = _LATE | EARLY


class WorkerLeg(Leg):
    """One connection to the worker, from its first SETTINGS on. `wire` leads to the worker."""

    __slots__ = (
        "_abuse",
        "_credit",
        "_early",
        "_exchange",
        "_pair",
        "_sender",
        "_uploads",
        "_window",
        "wire",
    )

    own_end = WORKER_ENDED
    other_end = CLIENT_ENDED
    slow_path = _SPECIAL | WATCHED

    def __init__(
        self, pair: Downstream, parts: Parts, *, sender: Measured, worker: Wire, client: Wire
    ) -> None:
        super().__init__(parts.streams, parts.limits)
        self._pair = pair
        self._exchange = parts.exchange
        self._credit = parts.worker_credit
        self._window = parts.window
        self._uploads = parts.uploads
        self._early = parts.early
        self._abuse = AbuseLimits(parts.limits, parts.clock)
        self._sender = sender  # whose DATA goes to this worker
        self.wire = worker
        self.out = client

    def __repr__(self) -> str:
        return f"<WorkerLeg {'acknowledged' if self.stateless else 'greeting'}>"

    def say(self, octets: bytes) -> None:
        """Write to the worker, before frames pass; nothing, if its socket is closed already."""
        if not self.wire.is_closing():
            self.wire.write(octets)

    def stream_fault(self, stream: int, fault: StreamFault) -> None:
        self._pair.reset_both(stream, fault)

    def after_read(self) -> None:
        self._pair.run_due()

    # --- streams

    def on_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        states = self.states
        state = states.get(stream)
        if state is None or state & _SPECIAL:
            if state is None or state & _LATE:
                return self._on_late_headers(stream, payload)
            return self._on_early_headers(flags, stream, payload)
        block = payload if self.stateless else self.stateless_block(payload)
        if state & TAGGED:
            block += self._streams.tags.pop(stream)
            state = states[stream] = state & ~TAGGED
        if state & WATCHED and flags & END_STREAM:
            trailers = split(block, self.header_limits, {})
            self._pair.answered(self._streams.watched.pop(stream), trailers)
        if not flags & END_STREAM:
            states[stream] = state | RESPONDED
        elif state & CLIENT_ENDED:
            self.stream_ended(stream)
        else:
            states[stream] = state | RESPONDED | WORKER_ENDED
        if block is payload and not self.metered:
            return None
        frame = wire.headers(stream, block, end_stream=bool(flags & END_STREAM))
        return self._window.pass_on(frame) if self.metered else frame

    def _on_early_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        """Of an answer that the door has begun: the first are left out, or become trailers."""
        fields = self.answer_fields(payload)
        try:
            if not flags & END_STREAM:
                self._on_left_out(stream, fields)
                return NOTHING
            block = as_trailers(fields) + self._streams.tags.pop(stream, b"")
        except TorporError as error:
            self._pair.end_answer(stream, error)
            return NOTHING
        self.states[stream] &= ~TAGGED
        self._streams.end_by_worker(stream)
        frame = wire.headers(stream, block, end_stream=True)
        return self._early.from_worker(stream, frame, ended=True)

    def _on_left_out(self, stream: int, fields: list[Field]) -> None:
        if is_interim(fields):
            return
        check_left_out(fields)
        if not self._early.answers(stream):
            raise WorkerProtocol("HEADERS behind HEADERS")

    def _check_its_own(self, stream: int) -> None:
        state = self.states.get(stream, 0)
        if not 0 < stream <= self._streams.last or state & _NOT_ITS_OWN:
            raise protocol_error("the worker speaks of a stream that it was never sent")

    def _on_late_headers(self, stream: int, payload: bytes) -> bytes | None:
        """Under way while the client reset the stream. The block may still change a table."""
        self._check_its_own(stream)
        self._abuse.control()
        if not self.stateless:
            self.stateless_block(payload)
        return NOTHING

    def on_data(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        """DATA off the fast path: padded, empty, measured, or of a stream that is closed here."""
        self._check_its_own(stream)
        octets, ended = len(payload), flags & END_STREAM
        data = self.unpadded(flags, payload)
        state = self.states.get(stream)
        if not octets and not ended:
            self._abuse.control()
        if state is None:  # reset by the client, or by us: the window it took is given back
            self._abuse.control()
            self._credit.add(octets)
            return NOTHING
        if state & WORKER_ENDED:
            raise protocol_error("the worker sends DATA after END_STREAM")
        if state & EARLY:
            return self._on_early_data(stream, data, octets, end=ended)
        if state & WATCHED:
            self._streams.watched[stream].add(data)
        if ended:
            self._streams.end_by_worker(stream)
        if self.metered:
            return self._on_measured_data(stream, data, octets, end=ended)
        self.data_octets += octets
        return None

    def _on_measured_data(self, stream: int, data: bytes, octets: int, *, end: int) -> bytes:
        self._give_back(stream, octets - len(data))  # padding goes no further
        return self._window.pass_on(wire.frame(Kind.DATA, end, stream, data), len(data))

    def _on_early_data(self, stream: int, data: bytes, octets: int, *, end: int) -> bytes:
        """DATA behind what the door has said on the stream."""
        padding = octets - len(data)
        try:
            if not self._early.answered(stream):
                self._credit.add(len(data))
                raise WorkerProtocol("DATA before HEADERS")
            data, less = self._early.continued(stream, data)
        except TorporError as error:
            self._credit.add(padding)
            self._pair.end_answer(stream, error)
            return NOTHING
        self._give_back(stream, padding + less)
        if end:
            self._streams.end_by_worker(stream)
        frames = data_frames(stream, data, end=end) if data or end else []
        return self._early.from_worker(stream, *frames, ended=bool(end))

    def _give_back(self, stream: int, octets: int) -> None:
        """DATA that goes no further, so nobody else gives it back."""
        if octets:
            self._pair.to_worker(wire.window_update(0, octets) + wire.window_update(stream, octets))

    def on_rst_stream(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._check_its_own(stream)
        frame = wire.frame(Kind.RST_STREAM, 0, stream, payload)
        if stream not in self.states:
            self._abuse.control()
            return NOTHING
        self._streams.remember(stream, self._streams.close(stream))
        self._uploads.drop(stream)
        if stream in self._early:
            return self._early.from_worker(stream, frame, ended=True)
        if self.metered:
            return self._window.pass_on(frame)
        return None

    def on_window_update(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._abuse.answer(self._sender.data_octets)
        if stream == 0:
            return None
        self._check_its_own(stream)
        state = self.states.get(stream)
        if state is None:
            return NOTHING
        if state & QUEUED:
            increment = u32(payload, 0) & BIGGEST_WINDOW
            passes = self._uploads.opened(stream, increment)
            if passes != increment:
                return wire.window_update(stream, passes) if passes else NOTHING
        return None

    # --- the rest

    def settings(self, values: settings.Values) -> bytes | None:
        self._abuse.settings()
        return self._pair.worker_settings(values)

    def acknowledged(self) -> bytes | None:
        if self._exchange.worker_acks:
            self._exchange.worker_acks -= 1
            self.settings_acknowledged()
            return NOTHING
        self._abuse.control()
        return None

    def on_ping(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._abuse.answer(self._sender.data_octets)
        return None

    def goaway(self, last: int, rest: bytes) -> bytes | None:
        self._abuse.control()
        return self._pair.worker_goaway(last, rest)

    def on_priority(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._abuse.control()
        return NOTHING

    def on_unknown(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        self._abuse.control()
        return None
