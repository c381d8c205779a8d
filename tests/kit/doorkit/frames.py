"""A client that writes frames as it is told to, right or wrong, and keeps what comes back."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

import hpack

from torpor_provisioner.contract import Address
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ACK, END_HEADERS, END_STREAM, ErrorCode, Kind

PATIENCE = 20.0  # seconds until an answer that does not come counts as none
GREETING = wire.PREFACE + wire.settings(()) + wire.SETTINGS_ACK
Pairs = tuple[tuple[bytes, bytes], ...]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def fields(
    satellite: bytes = b"acme/one",
    path: bytes = b"/t.T/Both",
    *,
    authority: bytes = b"localhost",
    token: bytes = b"secret",
) -> Pairs:
    """A request as a gRPC client would make it; for no satellite if that is empty."""
    return (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", authority),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *(((b"satellite", satellite),) if satellite else ()),
        (b"authorization", b"Bearer " + token),
    )


def message(octets: bytes) -> bytes:
    """A gRPC message, uncompressed."""
    return b"\0" + len(octets).to_bytes(4, "big") + octets


def split(octets: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames, and what is behind them."""
    frames, at = [], 0
    while len(octets) - at >= wire.HEADER_SIZE:
        word, flags, stream = wire.unpack_header(octets, at)
        end = at + wire.HEADER_SIZE + (word >> 8)
        if end > len(octets):
            break
        payload = octets[at + wire.HEADER_SIZE : end]
        frames.append(Frame(word & 0xFF, flags, stream & wire.STREAM_MASK, payload))
        at = end
    return frames, octets[at:]


class FrameClient:
    """`satellite` is the one its requests are for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.satellite = b"acme/one"
        self.frames: list[Frame] = []
        self.closed = False
        self._reader = reader
        self._came = asyncio.Event()
        self._pings = 0
        self._decoder = hpack.Decoder()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(
        cls, address: Address, *, greet: bool = True, tls: ssl.SSLContext | None = None
    ) -> FrameClient:
        made = cls(*await asyncio.open_connection(*address, ssl=tls))
        if greet:
            made.send(GREETING)
        return made

    def __repr__(self) -> str:
        return f"<FrameClient {len(self.frames)} frames{', closed' if self.closed else ''}>"

    def send(self, *octets: bytes) -> None:
        self.writer.write(b"".join(octets))

    def request(
        self, stream: int, pairs: Pairs | None = None, *, path: bytes = b"/t.T/Both", end: bool
    ) -> bytes:
        """The octets of a request's HEADERS."""
        return wire.headers(stream, self.block(pairs, path=path), end_stream=end)

    def block(self, pairs: Pairs | None = None, *, path: bytes = b"/t.T/Both") -> bytes:
        return encode(pairs or fields(self.satellite, path))

    async def _read(self) -> None:
        seen = b""
        try:
            while octets := await self._reader.read(65_536):
                whole, seen = split(seen + octets)
                self.frames += whole
                self._came.set()
        except ConnectionResetError:
            pass  # what came before it counts
        self.closed = True
        self.writer.close()
        self._came.set()

    def of(self, kind: Kind, stream: int | None = None) -> list[Frame]:
        return [each for each in self.frames if each.kind == kind and stream in (None, each.stream)]

    async def first(self, kind: Kind, stream: int | None = None, *, flags: int = 0) -> Frame:
        """Wait for a frame of this kind, on this stream, with at least these flags."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for each in self.of(kind, stream):
                    if each.flags & flags == flags:
                        return each
                assert not self.closed, f"closed; came: {self.frames}"
                self._came.clear()
                await self._came.wait()

    async def end(self) -> None:
        """Wait until the door has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            while not self.closed:
                self._came.clear()
                await self._came.wait()

    async def connection_error(self) -> ErrorCode:
        """The code of the GOAWAY with which the connection was closed."""
        await self.end()
        said = self.of(Kind.GOAWAY)
        assert said, "closed without a word"
        return ErrorCode(wire.u32(said[-1].payload, 4))

    async def stream_error(self, stream: int) -> ErrorCode:
        reset = await self.first(Kind.RST_STREAM, stream)
        return ErrorCode(wire.u32(reset.payload, 0))

    async def alive(self) -> None:
        """Wait for the answer to a PING; everything sent before has then been read."""
        self._pings += 1
        payload = b"alive%03d" % self._pings
        self.send(wire.frame(Kind.PING, 0, 0, payload))
        async with asyncio.timeout(PATIENCE):
            while Frame(Kind.PING, ACK, 0, payload) not in self.frames:
                assert not self.closed, f"closed; came: {self.frames}"
                self._came.clear()
                await self._came.wait()

    async def response(self, stream: int) -> dict[bytes, bytes]:
        """Headers and trailers of a whole response."""
        await self.ended(stream)
        told: dict[bytes, bytes] = {}
        for each in self.of(Kind.HEADERS, stream):
            assert each.flags & END_HEADERS
            told.update(self._decoder.decode(each.payload, raw=True))
        return told

    async def ended(self, stream: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(
                each.flags & END_STREAM and each.kind in (Kind.DATA, Kind.HEADERS)
                for each in self.frames
                if each.stream == stream
            ):
                assert not self.closed, f"closed; came: {self.frames}"
                self._came.clear()
                await self._came.wait()

    async def aclose(self) -> None:
        self._task.cancel()
        self.writer.transport.abort()
        await asyncio.gather(self._task, return_exceptions=True)
