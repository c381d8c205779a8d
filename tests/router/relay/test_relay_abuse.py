"""A connection that abuses the door is ended with the right error, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest
from h2.events import ConnectionTerminated, StreamEnded

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ErrorCode, Kind


class Rude:
    """Writes octets as they are; `closing` is what the door said in the end."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def closing(self) -> tuple[int, bytes]:
        """The code and text of the last GOAWAY."""
        octets, at, said = b"", 0, None
        async with asyncio.timeout(20):
            try:
                while more := await self.reader.read(65_536):
                    octets += more
            except ConnectionResetError:
                pass  # it came after the last word
        while at < len(octets):
            word, _, _ = wire.unpack_header(octets, at)
            payload = octets[at + 9 : at + 9 + (word >> 8)]
            if word & 0xFF == Kind.GOAWAY:
                said = wire.u32(payload, 4), payload[8:]
            at += 9 + (word >> 8)
        assert said, "closed without a word"
        return said


@pytest.fixture
async def rude():
    clients = []

    async def connect(house, *, greet=True):
        client = Rude(*await asyncio.open_connection(*house.address))
        clients.append(client)
        if greet:
            client.send(wire.PREFACE + wire.settings(()) + wire.SETTINGS_ACK)
        return client

    yield connect
    for client in clients:
        client.writer.transport.abort()


@pytest.fixture
async def strict(house_with, worker):
    """A door with small limits."""
    house = await house_with(
        control_frames=50, settings_frames=20, resets=20, faults=10, header_octets=8_192, linger=0.2
    )
    house.gate.add("acme/one", worker.address)
    return house


def request(*more, path=b"/t.T/Hang"):
    return encode(
        (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"x"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"satellite", b"acme/one"),
            (b"authorization", b"Bearer secret"),
            *more,
        )
    )


def rapid_reset():
    return b"".join(
        wire.headers(n, request(), end_stream=True) + wire.rst_stream(n, ErrorCode.CANCEL)
        for n in range(1, 201, 2)
    )


def endless_block():
    start = wire.frame(Kind.HEADERS, 0, 1, b"\x00")
    return start + wire.frame(Kind.CONTINUATION, 0, 1, bytes(1_000)) * 200


FLOODS = {
    "pings": (wire.frame(Kind.PING, 0, 0, bytes(8)) * 100, ErrorCode.ENHANCE_YOUR_CALM),
    "settings": (wire.settings(()) * 100, ErrorCode.ENHANCE_YOUR_CALM),
    "priorities": (wire.frame(Kind.PRIORITY, 0, 3, bytes(5)) * 100, ErrorCode.ENHANCE_YOUR_CALM),
    "unknown kinds": (wire.frame(99, 0, 1) * 100, ErrorCode.ENHANCE_YOUR_CALM),
    "acknowledgements": (wire.SETTINGS_ACK * 100, ErrorCode.ENHANCE_YOUR_CALM),
    "empty DATA": (
        wire.headers(1, request(), end_stream=False) + wire.frame(Kind.DATA, 0, 1) * 100,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "rapid reset": (rapid_reset(), ErrorCode.ENHANCE_YOUR_CALM),
    "refused requests": (
        b"".join(wire.headers(n, b"\x83", end_stream=True) for n in range(1, 99, 2)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "CONTINUATION": (endless_block(), ErrorCode.ENHANCE_YOUR_CALM),
    "empty CONTINUATION": (
        wire.frame(Kind.HEADERS, 0, 1) + wire.frame(Kind.CONTINUATION, 0, 1) * 1_000,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "window": (wire.window_update(0, (1 << 31) - 1), ErrorCode.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_its_connection_only(strict, worker, rude, raw, to_one, until, name):
    octets, code = FLOODS[name]
    calm = await raw(to=strict)
    calm.request(1, *to_one, path="/t.T/Both")
    await until(lambda: strict.door.relay.counts.streams == 1)
    client = await rude(strict)
    client.send(octets)
    said, why = await client.closing()
    assert said == code
    assert why
    calm.message(1, b"undisturbed")
    await until(lambda: calm.of(StreamEnded, 1))
    assert calm.answer(1)["grpc-status"] == "0"
    await until(lambda: strict.door.relay.counts.connections == 1)
    await until(lambda: not strict.gate.inside.total())


async def test_many_slow_pings_are_no_flood(house_with, rude):
    house = await house_with(control_frames=50, flood_window=0.05)
    client = await rude(house)
    for _ in range(8):
        client.send(wire.frame(Kind.PING, 0, 0, bytes(8)) * 20)
        await asyncio.sleep(0.06)  # the pace is what is tested
    assert house.door.relay.counts.connections == 1


@pytest.mark.parametrize(
    ("limits", "octets"),
    [
        ({"preface_timeout": 0.2}, b""),
        ({"preface_timeout": 0.2}, b"PRI * HTTP/2.0\r\n"),
        ({"preface_timeout": 0.2}, wire.PREFACE),
        ({"header_timeout": 0.2}, wire.PREFACE + wire.settings(()) + b"\x00\x00\x08"),
        (
            {"header_timeout": 0.2},
            wire.PREFACE + wire.settings(()) + wire.frame(Kind.HEADERS, 0, 1, b"\x82"),
        ),
    ],
)
async def test_what_begins_and_never_goes_on(house_with, rude, limits, octets):
    house = await house_with(**limits)
    client = await rude(house, greet=False)
    client.send(octets)
    said, why = await client.closing()
    assert said == ErrorCode.SETTINGS_TIMEOUT
    assert b"TPR-3008" in why


async def test_slow_data_is_no_offence(house_with, worker, rude, to_one, until):
    house = await house_with(header_timeout=0.1)
    house.gate.add("acme/one", worker.address)
    client = await rude(house)
    client.send(wire.headers(1, request(), end_stream=False))
    frame = wire.frame(Kind.DATA, 1, 1, b"\0\0\0\0\0")
    client.send(frame[:11])
    await asyncio.sleep(1.5)  # several rounds of the watch
    client.send(frame[11:])
    await worker.started.wait()


async def test_a_connection_that_never_asks(house_with, raw, until):
    house = await house_with(first_request_timeout=0.1)
    client = await raw(to=house)
    await until(lambda: client.of(ConnectionTerminated))
    assert client.of(ConnectionTerminated)[0].error_code == 0
    await until(lambda: client.ended)


async def test_an_idle_connection(house_with, worker, to_one, until):
    house = await house_with(idle_timeout=0.1)
    house.gate.add("acme/one", worker.address)
    async with house.channel() as channel:
        both = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await both.write(b"x")
        await both.read()
        await asyncio.sleep(1.5)  # an open stream is not idle, however quiet
        assert house.door.relay.counts.connections == 1
        await both.done_writing()
        await until(lambda: not house.door.relay.counts.connections)
        assert await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one) == b"x"


async def test_a_client_that_reads_nothing(house_with, worker, rude, until):
    house = await house_with(write_stall=0.3)
    house.gate.add("acme/one", worker.address)
    client = await rude(house)
    client.reader._transport.pause_reading()
    client.send(wire.settings([(4, (1 << 31) - 1)]) + wire.window_update(0, 1 << 30))
    client.send(wire.headers(1, request(path=b"/t.T/Down"), end_stream=False))
    message = b"99999999"
    body = b"\0" + len(message).to_bytes(4, "big") + message
    client.send(wire.frame(Kind.DATA, 1, 1, body))
    await until(lambda: house.door.relay.counts.streams)
    (connection,) = house.door._connections
    await until(lambda: connection._watch.stalled_since)
    assert connection.transport.get_write_buffer_size() < 1 << 20
    await until(lambda: not house.door.relay.counts.connections)


async def test_requests_that_wait_are_bounded_in_size(house_with, worker, rude, until):
    house = await house_with(held_octets_per_connection=10_000)
    house.gate.add("acme/one", worker.address, awake=False)
    client = await rude(house)
    for stream in (1, 3, 5):
        client.send(wire.headers(stream, request((b"x", b"y" * 4_000)), end_stream=False))
    await until(lambda: house.door.relay.holds.total == 2)
    octets = b""
    while b"TPR-3006" not in octets:
        octets += await asyncio.wait_for(client.reader.read(65_536), 20)
