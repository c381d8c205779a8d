"""A build that is ended before it asked for anything: docker buildx makes one before each other."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from doorkit.fakes import satellite_id

CONTROL = "/moby.buildkit.v1.Control/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
RETURNS_NO_RESULT = b"\x0a\x02\x1a\x00"
PATIENCE = 60  # seconds


@pytest.fixture
async def build(house, to_two):
    """The calls with which BuildKit's client opens a build on acme/two, which sleeps."""
    async with house.channel() as channel:

        class Build:
            def __init__(self):
                self.status = channel.unary_stream(CONTROL + "Status")(b"ref", metadata=to_two)
                self.session = channel.stream_stream(CONTROL + "Session")(metadata=to_two)
                self.solve = self.unary(CONTROL + "Solve", b"r" * 5_000)

            def unary(self, method, message=b""):
                return channel.unary_unary(method)(message, metadata=to_two)

            async def ends(self):
                """All of its calls end well, the session when its client has ended it."""
                assert await self.solve == b""
                assert await self.status.read() is grpc.aio.EOF
                assert await self.status.code() is grpc.StatusCode.OK
                await self.session.done_writing()
                assert await self.session.read() is grpc.aio.EOF
                assert await self.session.code() is grpc.StatusCode.OK

        yield Build


async def test_a_build_that_asks_for_nothing_is_ended_without_a_wake(house, build, collector):
    async with asyncio.timeout(PATIENCE):
        made = build()
        assert await made.unary(BRIDGE + "Return", RETURNS_NO_RESULT) == b""
        await made.ends()
    assert not house.gate.waited
    assert not collector.calls


async def test_looks_that_the_node_answers_come_between(house, build, shelf, to_two, until):
    """Their streams are later than those of the build, which come to the node behind them."""
    await shelf.keep(satellite_id("acme/two"), 1, BRIDGE + "Ping", b"pong")
    async with asyncio.timeout(PATIENCE):
        made = build()
        await until(lambda: len(held(house)) == 3)
        assert await made.unary(BRIDGE + "Ping") == b"pong"
        assert await made.unary(BRIDGE + "Return", RETURNS_NO_RESULT) == b""
        await made.ends()
    assert not house.gate.waited


def held(house):
    """The streams that wait."""
    return [each for made in house.door._connections for each in made.pair.streams.held]


async def test_the_next_one_on_the_same_connection_wakes(house, build, until):
    async with asyncio.timeout(PATIENCE):
        first = build()
        await first.unary(BRIDGE + "Return", RETURNS_NO_RESULT)
        await first.ends()
        second = build()
        work = second.unary(BRIDGE + "Solve", b"definition")
        await until(lambda: house.gate.waiting == 4)
        house.gate.awake[next(iter(house.gate.awake))].set()
        for each in house.gate.awake.values():
            each.set()
        assert await work == b"the worker"
        assert await second.unary(BRIDGE + "Return", RETURNS_NO_RESULT) == b"the worker"


@pytest.mark.parametrize(
    ("message", "works"),
    [
        (b"\x12\x02\x08\x02", False),  # an error
        (b"\x0a\x05\x1a\x03\x0a\x01x", False),  # a result
        (RETURNS_NO_RESULT, True),
    ],
)
async def test_a_build_that_returns_something_goes_to_its_worker(
    house, build, until, message, works
):
    async with asyncio.timeout(PATIENCE):
        made = build()
        work = [made.unary(BRIDGE + "Solve", b"definition")] if works else []
        if works:
            await until(lambda: house.gate.waiting)
        returned = made.unary(BRIDGE + "Return", message)
        await until(lambda: house.gate.waiting == 4 + works)
        for each in house.gate.awake.values():
            each.set()
        assert await asyncio.gather(*work, made.solve, returned) == [b"the worker"] * (2 + works)


async def test_builds_that_are_open_together_go_to_their_worker(house, build, until):
    """Their calls do not say which of them they are of."""
    async with asyncio.timeout(PATIENCE):
        one, two = build(), build()
        await until(lambda: house.gate.waiting == 6)
        returned = one.unary(BRIDGE + "Return", RETURNS_NO_RESULT)
        await until(lambda: house.gate.waiting == 7)
        for each in house.gate.awake.values():
            each.set()
        answers = await asyncio.gather(one.solve, two.solve, returned)
    assert answers == [b"the worker"] * 3


async def test_without_the_option_it_wakes(house, build, until):
    house.door.relay.wake_progress = False
    made = build()
    returned = made.unary(BRIDGE + "Return", RETURNS_NO_RESULT)
    await until(lambda: house.gate.waiting == 4)
    for each in house.gate.awake.values():
        each.set()
    assert await returned == b"the worker"
