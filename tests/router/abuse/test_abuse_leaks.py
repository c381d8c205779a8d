"""Whatever ends a connection, nothing of it stays."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path

import pytest
from doorkit.fakes import satellite_id
from doorkit.frames import fields, message

from torpor_router.errors import BadSatelliteName
from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, ErrorCode, Kind
from torpor_router.relay.held import Held
from torpor_router.relay.pair import Pair
from torpor_router.relay.sockets import ClientConnection, WorkerConnection  # type: ignore[attr-defined]

DATA = wire.frame(Kind.DATA, END_STREAM, 1, message(b"x"))


async def a_call(client, house):
    client.send(client.request(1, end=False), DATA)
    await client.response(1)


async def a_call_left_open(client, house):
    client.send(client.request(1, end=False))
    await client.alive()


async def a_cancelled_call(client, house):
    client.send(client.request(1, end=False), wire.rst_stream(1, ErrorCode.CANCEL))
    await client.alive()


async def a_held_call_left(client, house):
    client.satellite = b"acme/two"
    client.send(client.request(1, end=False))
    await client.alive()


async def a_held_call_cancelled(client, house):
    await a_held_call_left(client, house)
    client.send(wire.rst_stream(1, ErrorCode.CANCEL))
    await client.alive()


async def a_refused_call(client, house):
    client.send(wire.headers(1, client.block(fields()[:6]), end_stream=False))
    await client.response(1)


async def a_call_refused_later(client, house):
    token = b"Bearer revoked"
    pairs = (*fields()[:7], (b"authorization", token))
    house.directory.refused["revoked"] = BadSatelliteName("revoked")
    client.send(client.request(1, pairs, end=False))
    await client.response(1)


async def a_broken_rule(client, house):
    client.send(client.request(1, end=False), wire.frame(Kind.PING, 0, 0))
    await client.end()


async def a_preface_only(client, house):
    await client.first(Kind.SETTINGS)


WAYS = (
    a_call, a_call_left_open, a_cancelled_call, a_held_call_left, a_held_call_cancelled,
    a_refused_call, a_call_refused_later, a_broken_rule, a_preface_only,
)  # fmt: skip


def alive() -> list[object]:
    gc.collect()
    return left()


def left() -> list[object]:
    kinds = (ClientConnection, WorkerConnection, Pair, Held)
    return [each for each in gc.get_objects() if isinstance(each, kinds)]


def open_files() -> int:
    files = Path("/proc/self/fd")
    return sum(1 for _ in files.iterdir()) if files.exists() else 0


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_nothing_waits_for_the_garbage_collector(strict, connect, until, way):
    """Parts that refer to each other would stay until it runs, and then hold everyone up."""
    client = await connect(strict)
    await a_call(client, strict)
    await client.aclose()
    await until(lambda: not strict.door.relay.counts.connections)
    await until(lambda: not alive())
    gc.disable()
    try:
        for _ in range(3):
            client = await connect(strict)
            await way(client, strict)
            await client.aclose()
        del client
        await until(lambda: not strict.door.relay.counts.connections)
        await until(lambda: not left())
    finally:
        gc.enable()


@pytest.mark.parametrize("way", WAYS, ids=lambda each: each.__name__)
async def test_nothing_stays_of_a_connection(strict, connect, until, way):
    async def come_and_go(times: int) -> None:
        for _ in range(times):
            client = await connect(strict)
            await way(client, strict)
            await client.aclose()
        await until(lambda: not strict.door.relay.counts.connections)

    await come_and_go(5)  # what is made once: tables, caches, the worker's own
    await until(lambda: not alive())
    files = open_files()
    await come_and_go(40)
    await until(lambda: not alive())
    await until(lambda: open_files() <= files)
    relay = strict.door.relay
    assert not relay.counts.streams
    assert not relay.holds.total
    assert not relay.callers
    assert not strict.door._by_satellite
    assert not strict.door._bound
    assert len(asyncio.all_tasks()) < 20, "tasks that wait for nobody"


async def test_a_long_life_of_one_connection(house, connect):
    """Streams without end on one connection, answered, cancelled and refused."""
    client = await connect(house)

    async def live(first: int) -> int:
        for stream in range(first, first + 400, 8):
            client.send(client.request(stream, end=True))
            await client.response(stream)
            client.send(client.request(stream + 2, end=False))
            client.send(wire.rst_stream(stream + 2, ErrorCode.CANCEL))
            if stream % 80 == 1:  # seldom: too many would be a flood
                client.send(client.request(stream + 4, fields(b"acme/two"), end=True))
                await client.response(stream + 4)
            await client.alive()
            client.frames.clear()
        return first + 400

    stream = await live(1)
    tracemalloc.start()
    try:
        stream = await live(stream)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await live(stream)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 64 << 10


async def test_a_satellite_that_sleeps_and_wakes(strict, connect, until):
    """Each time its connections go, and nothing of them stays."""
    two = satellite_id("acme/two")
    for _ in range(10):
        strict.gate.awake[two].set()
        client = await connect(strict)
        client.satellite = b"acme/two"
        client.send(client.request(1, end=True))
        await client.response(1)
        strict.gate.sleep(two)
        await client.end()
        await client.aclose()
    await until(lambda: not strict.door.relay.counts.connections)
    await until(lambda: not alive())
