"""Those who are slow, or silent, or take nothing: they cost little, and end in time."""

from __future__ import annotations

import asyncio
import time

import pytest
from doorkit.fakes import satellite_id
from doorkit.frames import GREETING, fields, message
from doorkit.pump import pumping
from h2.events import ConnectionTerminated

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import END_STREAM, ErrorCode, Kind, Setting


async def test_many_slow_pings_are_no_flood(house_with, connect):
    house = await house_with(control_frames=50, flood_window=0.05)
    client = await connect(house)
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
        ({"preface_timeout": 0.2}, wire.PREFACE + wire.settings(())),
        ({"header_timeout": 0.2}, wire.PREFACE + wire.settings(()) + b"\x00\x00\x08"),
        (
            {"header_timeout": 0.2},
            wire.PREFACE + wire.settings(()) + wire.frame(Kind.HEADERS, 0, 1, b"\x82"),
        ),
    ],
    ids=[
        "nothing",
        "half a preface",
        "a preface without SETTINGS",
        "no acknowledgement",
        "half a frame",
        "half a block",
    ],
)
async def test_what_begins_and_never_goes_on(house_with, connect, limits, octets):
    house = await house_with(**limits)
    client = await connect(house, greet=False)
    client.send(octets)
    assert await client.connection_error() == ErrorCode.SETTINGS_TIMEOUT
    assert b"TPR-3008" in client.of(Kind.GOAWAY)[-1].payload
    assert client.frames[0].kind == Kind.SETTINGS, "RFC 9113 section 3.4"


async def test_what_comes_after_our_last_words_is_not_answered(house_with, connect, caplog):
    house = await house_with(preface_timeout=0.2)
    client = await connect(house, greet=False)
    await client.first(Kind.GOAWAY)
    client.send(GREETING)
    assert await client.connection_error() == ErrorCode.SETTINGS_TIMEOUT
    assert not caplog.records


async def test_a_stopped_process_counts_against_no_client(house_with, connect):
    house = await house_with(preface_timeout=0.5)
    client = await connect(house, greet=False)
    time.sleep(2.0)  # as SIGSTOP does
    for _ in range(3):  # timers that are due run before what was sent meanwhile has been read
        await asyncio.sleep(0)
    client.send(GREETING)
    await client.alive()
    assert not client.of(Kind.GOAWAY)


async def test_slow_data_is_no_offence(house_with, worker, connect, to_one, until):
    house = await house_with(header_timeout=0.1)
    house.gate.add("acme/one", worker.address)
    client = await connect(house)
    client.send(client.request(1, path=b"/t.T/Hang", end=False))
    frame = wire.frame(Kind.DATA, 1, 1, b"\0\0\0\0\0")
    client.send(frame[:11])
    await asyncio.sleep(0.5)  # several rounds of the watch
    client.send(frame[11:])
    await worker.started.wait()


async def test_a_connection_that_never_asks(house_with, raw, until):
    house = await house_with(first_request_timeout=0.1)
    client = await raw(to=house)
    await until(lambda: client.of(ConnectionTerminated))
    assert client.of(ConnectionTerminated)[0].error_code == 0
    assert b"TPR-3009" in client.of(ConnectionTerminated)[0].additional_data
    await until(lambda: client.ended)


async def test_an_idle_connection(house_with, worker, to_one, until):
    house = await house_with(idle_timeout=0.1)
    house.gate.add("acme/one", worker.address)
    async with house.channel() as channel:
        both = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await both.write(b"x")
        await both.read()
        await asyncio.sleep(0.5)  # an open stream is not idle, however quiet
        assert house.door.relay.counts.connections == 1
        await both.done_writing()
        await until(lambda: not house.door.relay.counts.connections)
        assert await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one) == b"x"


@pytest.fixture
async def pump():
    async with pumping(pace=1.0) as made:
        yield made


async def test_a_client_that_reads_nothing(house_with, pump, connect, until):
    house = await house_with(write_stall=0.3)
    house.gate.add("acme/one", pump.address)
    client = await connect(house)
    client.writer.transport.pause_reading()
    client.send(wire.settings([(4, (1 << 31) - 1)]) + wire.window_update(0, 1 << 30))
    client.send(wire.headers(1, encode(fields(path=b"/t.T/Down")), end_stream=False))
    client.send(wire.frame(Kind.DATA, 1, 1, message(b"9999")))
    await until(lambda: house.door.relay.counts.streams)
    (connection,) = house.door._connections
    await until(lambda: connection.full)
    assert connection.transport.get_write_buffer_size() < 1 << 20
    await until(lambda: not house.door.relay.counts.connections)
    assert connection._why.startswith("TPR-3011 "), "it reads no code, but the log has it"


async def test_requests_that_wait_are_bounded_in_size(house_with, worker, connect, until):
    house = await house_with(held_octets_per_connection=10_000)
    house.gate.add("acme/one", worker.address, awake=False)
    client = await connect(house)
    for stream in (1, 3, 5):
        client.send(client.request(stream, (*fields(), (b"x", b"y" * 4_000)), end=False))
    await until(lambda: house.door.relay.holds.total == 2)
    assert (await client.response(5))[b"x-torpor-code"] == b"TPR-3006"


@pytest.mark.parametrize("kind", ["preface", "block"])
async def test_one_octet_now_and_then_is_no_progress(house_with, connect, kind):
    """Slowloris: each octet comes within every limit, the whole never does."""
    house = await house_with(preface_timeout=0.5, header_timeout=0.5)
    client = await connect(house, greet=kind == "block")
    octets = wire.PREFACE if kind == "preface" else wire.headers(1, bytes(200), end_stream=True)
    at = 0
    while not client.closed:
        client.send(octets[at % len(octets) : at % len(octets) + 1])
        at += 1
        assert at < 400, "a whole frame was let through"
        await asyncio.sleep(0.05)  # the pace is what is tested
    assert await client.connection_error() == ErrorCode.SETTINGS_TIMEOUT


async def test_a_session_in_writes_of_one_octet(strict, connect, neighbour):
    """Slow, but right: it is served."""
    client = await connect(strict, greet=False)
    whole = GREETING + client.request(1, end=False)
    whole += wire.frame(Kind.DATA, END_STREAM, 1, message(b"octets"))
    for octet in whole:
        client.send(bytes((octet,)))
        await asyncio.sleep(0)
    assert (await client.response(1))[b"grpc-status"] == b"0"
    await neighbour.is_unaffected()


async def test_a_client_whose_window_stays_shut(strict, connect, neighbour, worker, until):
    """It asks for very much and takes none of it: that waits at the worker, not here."""
    client = await connect(strict)
    client.send(wire.settings([(Setting.INITIAL_WINDOW_SIZE, 0)]))
    for stream in range(1, 41, 2):
        client.send(client.request(stream, path=b"/t.T/Down", end=False))
        client.send(wire.frame(Kind.DATA, END_STREAM, stream, message(b"1000000000")))
    await until(lambda: len(worker.calls) == 1 + 20)
    await client.alive()
    assert not client.of(Kind.DATA)
    (connection,) = (each for each in strict.door._connections if len(each.pair.streams) == 20)
    assert connection.transport.get_write_buffer_size() == 0
    assert connection._worker.transport.get_write_buffer_size() == 0
    assert not connection.pair.worker.parts
    await neighbour.is_unaffected()
    await client.aclose()  # each of those streams is cancelled at the worker
    await until(lambda: not strict.gate.inside.total())


async def test_a_window_opened_octet_by_octet(strict, connect, neighbour, until):
    """WINDOW_UPDATE of 1 (CVE-2019-9511): each moves one octet, here as at the worker."""
    client = await connect(strict)
    client.send(wire.settings([(Setting.INITIAL_WINDOW_SIZE, 0)]))
    client.send(client.request(1, end=False))
    client.send(wire.frame(Kind.DATA, END_STREAM, 1, message(b"drops")))
    for _ in range(len(message(b"drops"))):
        client.send(wire.window_update(1, 1))
        await client.alive()
    assert (await client.response(1))[b"grpc-status"] == b"0"
    await neighbour.is_unaffected()


async def test_very_many_connections_that_ask_for_nothing(strict, connect, neighbour, until):
    clients = [await connect(strict) for _ in range(400)]
    await asyncio.gather(*(client.alive() for client in clients))
    await neighbour.is_unaffected()
    assert strict.door.relay.counts.connections == 401
    for client in clients:
        client.writer.transport.abort()
    await until(lambda: strict.door.relay.counts.connections == 1)


async def test_very_many_connections_that_wait(strict, connect, neighbour, worker, until):
    """None of them is lost when their satellite wakes, and the neighbour's is served meanwhile."""
    clients = [await connect(strict) for _ in range(200)]
    for client in clients:
        client.satellite = b"acme/two"
        client.send(client.request(1, end=True))
    await until(lambda: strict.gate.waiting == 200)
    await neighbour.calls()
    strict.gate.awake[satellite_id("acme/two")].set()
    for client in clients:
        assert (await client.response(1))[b"grpc-status"] == b"0"
    await neighbour.is_unaffected()
