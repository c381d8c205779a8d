"""A satellite leaves running: which connections that ends, and with which words."""

from __future__ import annotations

import asyncio

import grpc
from doorkit.fakes import satellite_id

from torpor_provisioner.contract import Address
from torpor_statemachine.errors import PutToSleep

ONE = satellite_id("acme/one")
FORCED = PutToSleep("by token:ci (forced)")


async def test_a_forced_sleep_ends_streams_with_its_code(house, worker, to_one, until):
    async with house.channel() as channel:
        open_ = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await open_.write(b"before")
        assert await open_.read() == b"erofeb"
        silent = channel.unary_unary("/t.T/Hang")(b"", metadata=to_one)
        await worker.started.wait()
        house.gate.sleep(ONE, FORCED)
        for call in (open_, silent):
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert await call.details() == str(FORCED)
            assert dict(await call.trailing_metadata())["x-torpor-code"] == "TPR-2102"
        await until(lambda: not house.door.relay.counts.connections)
        assert not house.gate.inside.total()
        house.gate.awake[ONE].set()  # and who comes again wakes it
        again = channel.unary_unary("/t.T/Unary")
        assert await again(b"x", metadata=to_one) == b"x"


async def test_clients_that_came_after_the_next_wake_are_left_alone(house, worker, to_one):
    house.gate.sleep(ONE)
    house.gate.awake[ONE].set()
    async with house.channel() as channel:
        call = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await call.write(b"ab")
        assert await call.read() == b"ba"
        house.gate.epochs[ONE] -= 2
        house.gate.sleep(ONE, FORCED)  # late news of the sleep before
        await call.write(b"cd")
        assert await call.read() == b"dc"
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def test_another_satellites_streams_are_left_alone(house, worker, to_one, to_two):
    house.gate.awake[satellite_id("acme/two")].set()
    async with house.channel() as channel, house.channel() as other:
        ones = channel.stream_stream("/t.T/Both")(metadata=to_one)
        twos = other.stream_stream("/t.T/Both")(metadata=to_two)
        for call in (ones, twos):
            await call.write(b"ab")
            assert await call.read() == b"ba"
        house.gate.sleep(ONE, FORCED)
        assert await ones.code() is grpc.StatusCode.UNAVAILABLE
        await twos.write(b"cd")
        assert await twos.read() == b"dc"
        twos.cancel()


async def test_a_request_that_waits_for_the_worker_is_tried_again(house, worker, to_one, until):
    """It has not reached the worker: the client's library repeats it by itself."""
    dialled = asyncio.Event()

    async def say_nothing(reader, writer):
        dialled.set()
        await reader.read(-1)
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    house.gate.addresses[ONE] = Address(*silent.sockets[0].getsockname())
    async with silent, house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one)
        await dialled.wait()
        house.gate.sleep(ONE, FORCED)
        await until(lambda: house.gate.waiting == 1)
        house.gate.addresses[ONE] = worker.address
        house.gate.awake[ONE].set()
        assert await call == b"x"
