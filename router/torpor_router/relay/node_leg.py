"""The node's own services, behind the same client connection as a satellite.

A client library calls them by itself (health checks), or a tool asks them on the channel that it
builds through. They cannot have the client's connection for themselves, so here the door is an
end of HTTP/2 and not a relay: SETTINGS, PING and the connection's window are between the door
and the node. Only streams pass, with ids as the client chose them, but for calls that waited first:
they come to the node behind later ones, and ids must rise (RFC 9113 section 5.1.1).

The client's SETTINGS are acknowledged before the node has them. What the node sent by then waits
here for the windows that the client has made smaller (section 6.9.2).
"""

from __future__ import annotations

from typing import Protocol

from torpor_router.h2 import settings, wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.scanner import NOTHING, protocol_error
from torpor_router.h2.wire import (
    ACK,
    BIGGEST_WINDOW,
    DEFAULT_WINDOW,
    END_STREAM,
    ErrorCode,
    Kind,
    Setting,
    u32,
    unpack_header,
)
from torpor_router.limits import Limits
from torpor_router.relay.leg import Leg
from torpor_router.relay.pacing import Paced, data_size
from torpor_router.relay.ports import Wire
from torpor_router.relay.streams import NODE, RESPONDED, WORKER_ENDED, Streams


class NodeClient(Protocol):
    """Where the node's answers go."""

    def from_node(self, stream: int, frame: bytes, octets: int = 0) -> None:
        """A frame for the client, with so many octets of DATA."""
        ...

    def run_due(self) -> None:
        """Do what became due in a read of the node's."""
        ...

    def room(self) -> int:
        """Octets of DATA that the client takes now, of all streams."""
        ...


class NodeLeg(Leg):
    """The connection to the node's own gRPC server; `connected` once there is one."""

    __slots__ = (
        "_answers",
        "_at_node",
        "_client",
        "_initial_window",
        "_last",
        "_of_node",
        "_pending",
        "_room",
        "_uploads",
        "wire",
    )

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
        self._answers: dict[int, Paced] = {}  # by the client's windows
        self._last = -1  # of the node's streams
        self._at_node: dict[int, int] = {}  # the node's stream of each of the client's
        self._of_node: dict[int, int] = {}  # and the other way round
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

    def open(self, stream: int, block: bytes, *, window: int, ended: bool) -> None:
        """A request, as a stateless header block; the client takes so much of its answer."""
        at_node = self._last = max(stream, self._last + 2)
        self._at_node[stream], self._of_node[at_node] = at_node, stream
        self._uploads[stream] = Paced([], self._initial_window)
        self._answers[stream] = Paced([], window)
        self._write(wire.headers(at_node, TABLE_SIZE_ZERO + block, end_stream=ended))

    def upload(self, stream: int, frames: list[bytes]) -> int:
        """DATA or trailers; how many octets of that stream's DATA wait here now."""
        paced = self._uploads[stream]
        paced.frames.extend(frames)
        self._pump()
        return paced.octets

    def window(self, stream: int, increment: int) -> None:
        at_node = self._at_node.get(stream)
        if at_node is not None:
            self._write(wire.window_update(at_node, increment))
            self._answers[stream].window += increment
            self._answer(stream)

    def settings_changed(self, frame: bytes, change: int) -> None:
        """The client's SETTINGS have changed, and by `change` the windows of open streams; `frame`
        has those that the node may see."""
        if self.wire is not None:
            self._write(frame)
        for answer in self._answers.values():
            answer.window += change
        self.client_has_room()

    def client_has_room(self) -> None:
        """Go on with answers that wait for the client's windows."""
        for stream in [each for each, answer in self._answers.items() if answer.frames]:
            self._answer(stream)

    @property
    def waiting(self) -> int:
        """Frames that wait for the client's windows."""
        return sum(len(answer.frames) for answer in self._answers.values())

    def reset(self, stream: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """The client wants no more of the stream, which is closed already."""
        at_node, _ = self._forget(stream)
        if at_node is not None:
            self._write(wire.rst_stream(at_node, code))

    def over(self, stream: int) -> None:
        """Both ends have ended the stream; the node has not had what still waits for its window."""
        at_node, paced = self._forget(stream)
        if at_node is not None and paced is not None and paced.frames:
            self._write(wire.rst_stream(at_node, ErrorCode.CANCEL))

    def _forget(self, stream: int) -> tuple[int | None, Paced | None]:
        """Its stream at the node, and what still waits for that."""
        at_node = self._at_node.pop(stream, None)
        if at_node is not None:
            del self._of_node[at_node]
        self._answers.pop(stream, None)
        return at_node, self._uploads.pop(stream, None)

    def _write(self, frame: bytes) -> None:
        if self.wire is None:
            self._pending.append(frame)
        elif not self.wire.is_closing():
            self.wire.write(frame)

    def _pump(self) -> None:
        if self.wire is None:
            return
        for stream, paced in self._uploads.items():
            if paced.frames:
                before = paced.window
                out = paced.release(self._room)
                self._room -= before - paced.window
                at_node = self._at_node[stream]
                self._write(b"".join(wire.moved(each, at_node) for each in out))

    # --- from the node

    def stream_fault(self, stream: int, fault: StreamFault) -> None:
        raise fault  # it raises none

    def after_read(self) -> None:
        self._client.run_due()

    def _open_stream(self, at_node: int) -> int | None:
        """The client's stream, as long as it is open."""
        stream = self._of_node.get(at_node)
        open_ = stream is not None and self.states.get(stream, 0) & NODE
        return stream if open_ else None

    def on_headers(self, flags: int, at_node: int, payload: bytes) -> bytes | None:
        block = self.stateless_block(payload)
        stream = self._open_stream(at_node)
        if stream is not None:
            self.states[stream] |= RESPONDED
            end = bool(flags & END_STREAM)
            self._answers[stream].frames.append(wire.headers(stream, block, end_stream=end))
            self._answer(stream)
        return NOTHING

    def on_data(self, flags: int, at_node: int, payload: bytes) -> bytes | None:
        data = self.unpadded(flags, payload)
        if payload:
            self._write(wire.window_update(0, len(payload)))
        stream = self._open_stream(at_node)
        if stream is not None:
            frame = wire.frame(Kind.DATA, flags & END_STREAM, stream, data)
            self._answers[stream].frames.append(frame)
            self._answer(stream)
        return NOTHING

    def _answer(self, stream: int) -> None:
        """Pass on what the client's windows allow."""
        for frame in self._answers[stream].release(self._client.room()):
            self._client.from_node(stream, frame, data_size(frame))
            if unpack_header(frame, 0)[1] & END_STREAM:
                self._end(stream)

    def _end(self, stream: int) -> None:
        self._streams.end_by_worker(stream)
        if stream not in self.states:
            self.over(stream)

    def on_rst_stream(self, flags: int, at_node: int, payload: bytes) -> bytes | None:
        stream = self._open_stream(at_node)
        if stream is not None:
            self._streams.remember(stream, self._streams.close(stream))
            self._forget(stream)
            self._client.from_node(stream, wire.frame(Kind.RST_STREAM, 0, stream, payload))
        return NOTHING

    def on_window_update(self, flags: int, at_node: int, payload: bytes) -> bytes | None:
        increment = u32(payload, 0) & BIGGEST_WINDOW
        stream = self._of_node.get(at_node)
        if at_node == 0:
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

    def on_ping(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        if stream:
            raise protocol_error("PING on a stream")
        if not flags & ACK:
            self._write(wire.ping_ack(payload))
        return NOTHING

    def goaway(self, last: int, rest: bytes) -> bytes | None:
        return NOTHING  # it closes the connection when it has answered what it has

    def on_priority(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        return NOTHING

    def on_unknown(self, flags: int, stream: int, payload: bytes) -> bytes | None:
        return NOTHING
