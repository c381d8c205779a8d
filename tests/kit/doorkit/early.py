"""A build's Status stream that the door begins to answer while its satellite wakes."""

from __future__ import annotations

import hpack
from doorkit.core import REQUEST, frames, pair_up, to_worker
from relayfuzz.bench import Bench
from relayfuzz.checks import check_end, check_out

from torpor_router.dialects.messages.buildkit_status_pb2 import StatusResponse, Vertex
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import END_STREAM, Kind

STATUS = tuple(
    (name, b"/moby.buildkit.v1.Control/Status" if name == b":path" else value)
    for name, value in REQUEST
)
OK = b"\x88" + encode(((b"content-type", b"application/grpc"),))
DONE = encode(((b"grpc-status", b"0"),))


def fields(block: bytes) -> dict[bytes, bytes]:
    """A header block that needs no table but its own."""
    return {bytes(name): bytes(value) for name, value in hpack.Decoder().decode(block, raw=True)}


def framed(octets: bytes) -> bytes:
    """As one message of gRPC's."""
    return b"\0" + len(octets).to_bytes(4, "big") + octets


class Build:
    """A client whose satellite sleeps, with a Status stream and what came on it."""

    def __init__(
        self,
        *,
        window: int = 1 << 20,
        request: tuple[tuple[bytes, bytes], ...] = STATUS,
        stream: int = 1,
        bench: Bench | None = None,
    ) -> None:
        self.bench = bench or Bench()
        self.bench.fleet.awake = False
        self.stream = stream
        if not self.bench.pair.client.greeted:
            self.bench.from_client(wire.settings([(4, window)]) + wire.SETTINGS_ACK)
        self.bench.from_client(wire.headers(stream, encode(request), end_stream=False))
        self.bench.from_client(wire.frame(Kind.DATA, END_STREAM, stream, framed(b"\n\x03ref")))

    def came(self) -> list[tuple[int, int, bytes]]:
        return [
            (kind, flags, payload)
            for kind, flags, stream, payload in frames(self.bench.client.octets)
            if stream == self.stream and kind != Kind.WINDOW_UPDATE
        ]

    @property
    def data(self) -> bytes:
        return b"".join(payload for kind, _, payload in self.came() if kind == Kind.DATA)

    @property
    def told(self) -> list[StatusResponse]:
        """The door's messages, which come first; each is whole."""
        found, rest = [], self.data
        while rest[:1] == b"\0" and rest[5:7] != b"w:":
            size = int.from_bytes(rest[1:5])
            assert len(rest) >= 5 + size, "a torn message"
            found.append(StatusResponse.FromString(rest[5 : 5 + size]))
            rest = rest[5 + size :]
        return found

    @property
    def from_worker(self) -> bytes:
        own = sum(5 + len(each.SerializeToString()) for each in self.told)
        return self.data[own:]

    @property
    def lines(self) -> list[str]:
        return [log.msg.decode() for each in self.told for log in each.logs]

    @property
    def steps(self) -> list[Vertex]:
        return [vertex for each in self.told for vertex in each.vertexes]

    def heads(self) -> list[bytes]:
        return [payload for kind, _, payload in self.came() if kind == Kind.HEADERS]

    @property
    def trailers(self) -> dict[bytes, bytes]:
        (kind, flags, payload) = next(each for each in self.came() if each[1] & END_STREAM)
        assert kind == Kind.HEADERS
        assert flags & END_STREAM
        return fields(payload)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.bench.pass_time(1.0)

    def wake(self, *settings: tuple[int, int]) -> None:
        """The satellite wakes, and its worker gets the request."""
        self.bench.admit()
        pair_up(self.bench, *settings)

    def answer(self, octets: bytes = b"w:hello") -> None:
        self.bench.from_worker(wire.headers(self.stream, OK, end_stream=False))
        self.say(octets)

    def say(self, octets: bytes = b"w:hello", flags: int = 0) -> None:
        self.bench.from_worker(wire.frame(Kind.DATA, flags, self.stream, framed(octets)))

    def finish(self) -> None:
        self.bench.from_worker(wire.headers(self.stream, DONE, end_stream=True))

    def update(self, increment: int) -> None:
        self.bench.from_client(wire.window_update(self.stream, increment))

    def updates_at_worker(self) -> int:
        return sum(
            wire.u32(payload, 0)
            for kind, _, stream, payload in to_worker(self.bench)
            if (kind, stream) == (Kind.WINDOW_UPDATE, self.stream)
        )

    def resets_at_worker(self) -> list[int]:
        told = to_worker(self.bench)
        return [wire.u32(p, 0) for kind, _, stream, p in told if kind == Kind.RST_STREAM]

    def over(self) -> None:
        check_out(self.bench)
        self.bench.pair.closed()
        check_end(self.bench)
