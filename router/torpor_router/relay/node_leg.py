"""The node's own services, behind the same client connection as a satellite.

A client library calls them by itself (health checks), or a tool asks them on the channel that it
builds through. They cannot have the client's connection for themselves, so here the door is an
end of HTTP/2 and not a relay: SETTINGS, PING and the connection's window are between the door
and the node. Only streams pass, with ids as the client chose them.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from torpor_router.h2 import settings, wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.scanner import NOTHING, Handler, protocol_error
from torpor_router.h2.wire import (
    ACK,
    BIGGEST_WINDOW,
    DEFAULT_WINDOW,
    END_STREAM,
    ErrorCode,
    Kind,
    Setting,
    u32,
)
from torpor_router.limits import Limits
from torpor_router.relay.leg import Leg
from torpor_router.relay.pacing import Paced
from torpor_router.relay.ports import Wire
from torpor_router.relay.streams import NODE, RESPONDED, WORKER_ENDED, Streams


class NodeClient(Protocol):
    """Where the node's answers go."""

    def from_node(self, stream: int, frame: bytes, octets: int = 0) -> None:
        """A frame for the client, with so many octets of DATA."""
        ...

    def settle(self) -> None:
        """Do what became due in a read of the node's."""
        ...


class NodeLeg(Leg):
    """The connection to the node's own gRPC server; `connected` once there is one."""

    __slots__ = ("_client", "_initial_window", "_pending", "_room", "_uploads", "wire")

    own_end = WORKER_ENDED
    other_end = 0
    slow_path = ~0

    def __init__(self, client: NodeClient, streams: Streams, limits: Limits) -> None:
        super().__init__(streams, limits)
        self.metered = True  # the client's window is shared: no DATA passes unseen
        self._client = client
        self.out = None  # what goes to the client goes through the pair
        self.wire: Wire | None = None
        self._pending: list[bytes] = []  # frames from before the connection was there
        self._uploads: dict[int, Paced] = {}
        self._initial_window = DEFAULT_WINDOW  # of a new stream, as the node has it
        self._room = DEFAULT_WINDOW  # octets that the node takes on the connection

    def __repr__(self) -> str:
        return f"<NodeLeg {'connected' if self.wire is not None else 'dialling'}>"

    def connected(self, node: Wire, greeting: bytes) -> None:
        self.wire = node
        node.write(b"".join((greeting, *self._pending)))
        self._pending.clear()
        self._pump()

    # --- from the client

    def open(self, stream: int, block: bytes, *, ended: bool) -> None:
        """A request, as a stateless header block."""
        self._uploads[stream] = Paced([], self._initial_window)
        self._write(wire.headers(stream, TABLE_SIZE_ZERO + block, end_stream=ended))

    def upload(self, stream: int, frames: list[bytes]) -> int:
        """DATA or trailers; how many octets of that stream's DATA wait here now."""
        paced = self._uploads[stream]
        paced.frames.extend(frames)
        self._pump()
        return paced.octets

    def window(self, stream: int, increment: int) -> None:
        self._write(wire.window_update(stream, increment))

    def settings_changed(self, frame: bytes) -> None:
        """The client's SETTINGS have changed; `frame` has those that the node may see."""
        if self.wire is not None:
            self._write(frame)

    def reset(self, stream: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """The client wants no more of the stream, which is closed already."""
        self._uploads.pop(stream, None)
        self._write(wire.rst_stream(stream, code))

    def over(self, stream: int) -> None:
        """Both ends have ended the stream; the node has not had what still waits for its window."""
        paced = self._uploads.pop(stream, None)
        if paced is not None and paced.frames:
            self._write(wire.rst_stream(stream, ErrorCode.CANCEL))

    def _write(self, frame: bytes) -> None:
        if self.wire is None:
            self._pending.append(frame)
        elif not self.wire.is_closing():
            self.wire.write(frame)

    def _pump(self) -> None:
        if self.wire is None:
            return
        for paced in self._uploads.values():
            if paced.frames:
                before = paced.window
                out = paced.release(self._room)
                self._room -= before - paced.window
                self._write(b"".join(out))

    # --- from the node

    def stream_fault(self, stream: int, fault: StreamFault) -> None:
        raise fault  # it raises none

    def after_read(self) -> None:
        self._client.settle()

    def _is_open(self, stream: int) -> bool:
        return bool(self.states.get(stream, 0) & NODE)

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        block = self.stateless_block(payload)
        if self._is_open(stream):
            end = bool(flags & END_STREAM)
            self.states[stream] |= RESPONDED
            self._client.from_node(stream, wire.headers(stream, block, end_stream=end))
            if end:
                self._end(stream)
        return NOTHING

    def _on_data(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        data = self.unpadded(flags, payload)
        if payload:
            self._write(wire.window_update(0, len(payload)))
        if self._is_open(stream):
            end = flags & END_STREAM
            self._client.from_node(stream, wire.frame(Kind.DATA, end, stream, data), len(data))
            if end:
                self._end(stream)
        return NOTHING

    def _end(self, stream: int) -> None:
        self._streams.end_by_worker(stream)
        if stream not in self.states:
            self.over(stream)

    def _on_rst_stream(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if self._is_open(stream):
            self._streams.remember(stream, self._streams.close(stream))
            self._uploads.pop(stream, None)
            self._client.from_node(stream, wire.frame(Kind.RST_STREAM, 0, stream, payload))
        return NOTHING

    def _on_window_update(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        increment = u32(payload, 0) & BIGGEST_WINDOW
        if stream == 0:
            self._room += increment
        elif stream in self._uploads:
            self._uploads[stream].window += increment
        self._pump()
        return NOTHING

    def settings(self, values: settings.Values) -> bytes | None:
        window = values.get(Setting.INITIAL_WINDOW_SIZE, self._initial_window)
        for paced in self._uploads.values():
            paced.window += window - self._initial_window
        self._initial_window = window
        self._write(wire.SETTINGS_ACK)
        self._pump()
        return NOTHING

    def acknowledged(self) -> bytes | None:
        self.settings_acknowledged()
        return NOTHING

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("PING on a stream")
        if not flags & ACK:
            self._write(wire.ping_ack(payload))
        return NOTHING

    def goaway(self, last: int, rest: bytes) -> bytes | None:
        return NOTHING  # it closes the connection when it has answered what it has

    def _ignore(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        return NOTHING

    handlers: ClassVar[tuple[Handler, ...]] = (
        _on_data,
        _on_headers,
        _ignore,
        _on_rst_stream,
        Leg.read_settings,
        Leg.refuse_push,
        _on_ping,
        Leg.read_goaway,
        _on_window_update,
        Leg.refuse_continuation,
        _ignore,
    )
