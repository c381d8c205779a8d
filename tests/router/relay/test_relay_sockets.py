"""The ends of sockets: what is said first, what is said last, and nothing after it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from doorkit.frames import FrameClient, fields, message

from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, ErrorCode, Kind


async def test_a_connection_that_says_nothing_is_greeted_before_it_is_sent_away(house, until):
    """SETTINGS come before all else (RFC 9113 section 3.4), GOAWAY too."""
    client = await FrameClient.connect(house.address, greet=False)
    await until(lambda: house.door.relay.counts.connections)
    draining = asyncio.create_task(house.door.drain(5.0))
    await client.end()
    assert [each.kind for each in client.frames] == [Kind.SETTINGS, Kind.GOAWAY]
    await draining
    await client.aclose()


@pytest.mark.parametrize("cold", [False, True], ids=["hot", "cold"])
async def test_nothing_is_written_to_a_client_that_has_gone(house, worker, caplog, until, cold):
    """It breaks a rule while its request is on its way, reads GOAWAY and closes; 200 times."""
    caplog.set_level(logging.DEBUG, "asyncio")
    name = b"acme/two" if cold else b"acme/one"
    for number in range(200):
        client = await FrameClient.connect(house.address)
        client.send(client.request(1, fields(name), end=False))
        if cold and number == 0:
            await until(lambda: house.gate.waiting)
            for awake in house.gate.awake.values():
                awake.set()
        client.send(wire.frame(Kind.DATA, END_STREAM, 1, message(b"x")))
        if number % 2:
            await client.first(Kind.HEADERS, 1)
        client.send(wire.frame(Kind.DATA, 0, 9, b"of a stream that was never opened"))
        assert await client.connection_error() == ErrorCode.PROTOCOL_ERROR
        await client.aclose()
    await until(lambda: not house.door.relay.counts.connections)
    assert not house.gate.inside.total()
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []
