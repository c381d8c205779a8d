"""The wake in a BuildKit build's own progress, as gRPC's library reads it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

import grpc
import pytest
from clientkit.untyped import untyped
from doorkit.fakes import NOWHERE
from doorkit.serving import serving

from torpor_provisioner.contract import Address, SleepKind
from torpor_provisioner.errors import Capacity
from torpor_router.dialects.messages.buildkit_status_pb2 import StatusResponse, Vertex
from torpor_statemachine.gate import Outlook
from torpor_statemachine.lifecycle.states import State

STATUS = "/moby.buildkit.v1.Control/Status"
METADATA = (("satellite", "acme/bk"), ("authorization", "Bearer secret"))
STEPS = [
    StatusResponse(vertexes=[Vertex(name=f"RUN {step}", digest=f"{step}" * 3_000)])
    for step in range(10)
]


@dataclass
class Builder(grpc.GenericRpcHandler):
    """A worker whose builds have ten steps, or fail before the first."""

    fails: grpc.StatusCode | None = None
    asked: list[bytes] = field(default_factory=list)
    address: Address = NOWHERE

    def service(self, details):
        return grpc.unary_stream_rpc_method_handler(self.status)

    async def status(self, request, context):
        self.asked.append(request)
        if self.fails is not None:
            await context.abort(self.fails, "no such build", (("mine", "told"),))
        for step in STEPS:
            yield step.SerializeToString()


@pytest.fixture
async def builder():
    made = Builder()
    async with serving(made) as made.address:
        yield made


@pytest.fixture
def satellite(house, builder):
    """acme/bk, which is hibernated."""
    made = house.gate.add("acme/bk", builder.address, awake=False)
    house.gate.outlooks[made] = Outlook(State.ASLEEP, SleepKind.HIBERNATED, 20.0)
    return made


@pytest.fixture
async def status(house):
    """Ask for a build's progress."""
    host, port = house.address
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        method = untyped(channel).unary_stream(
            STATUS, response_deserializer=StatusResponse.FromString
        )
        yield lambda **options: method(b"\n\x03ref", metadata=METADATA, **options)


async def until_a_line(call):
    """The step, and the first line of it."""
    begun = await call.read()
    told = await call.read()
    return begun.vertexes[0], told.logs[0]


async def test_the_wake_comes_first_and_then_the_build(house, satellite, builder, status):
    call = status(timeout=30)
    async with asyncio.timeout(20):
        await call.initial_metadata()
        step, line = await until_a_line(call)
        assert step.name == "[torpor] waking acme/bk (hibernated), usually 20 s"
        assert line.vertex == step.digest
        assert re.fullmatch(rb"\d+ s\n", line.msg)
        assert not builder.asked
        house.gate.awake[satellite].set()
        rest = await all_of(call)
    (done,) = rest[-11].vertexes
    assert done.digest == step.digest
    assert done.HasField("completed")
    assert rest[-10:] == STEPS
    assert builder.asked == [b"\n\x03ref"]
    assert await call.code() is grpc.StatusCode.OK
    trailers = dict(await call.trailing_metadata())
    assert trailers["x-torpor-satellite"] == "acme/bk"
    assert trailers["x-torpor-wake"].startswith("kind=resumed")


async def test_a_worker_that_fails_at_once_is_heard(house, satellite, builder, status):
    builder.fails = grpc.StatusCode.NOT_FOUND
    call = status()
    async with asyncio.timeout(20):
        await call.read()
        house.gate.awake[satellite].set()
        await all_of(call)
    assert await call.code() is grpc.StatusCode.NOT_FOUND
    assert await call.details() == "no such build"
    assert dict(await call.trailing_metadata())["mine"] == "told"


async def test_a_wake_that_fails_is_told_in_both(house, satellite, status):
    call = status()
    async with asyncio.timeout(20):
        await call.read()
        error = Capacity("none of m7i.large")
        house.gate.failures[satellite] = error
        house.gate.awake[satellite].set()
        last = (await all_of(call))[-1]
    assert last.vertexes[0].error == str(error)
    assert await call.details() == str(error)
    assert dict(await call.trailing_metadata())["x-torpor-code"] == error.code


async def all_of(call):
    """What comes until the end, whichever that is."""
    came = []
    try:
        while (each := await call.read()) is not grpc.aio.EOF:
            came.append(each)
    except grpc.aio.AioRpcError:
        pass  # told by the call too
    return came


async def test_an_awake_satellite_is_not_told_of(house, satellite, status):
    house.gate.awake[satellite].set()
    assert await all_of(status()) == STEPS


async def test_a_caller_that_hangs_up_is_forgotten(house, satellite, status, until):
    call = status()
    async with asyncio.timeout(20):
        await call.read()
    call.cancel()
    await until(lambda: not house.gate.waiting and not len(house.door.relay.teller))


async def test_the_callers_deadline_holds(house, satellite, status):
    call = status(timeout=0.5)
    async with asyncio.timeout(20):
        await all_of(call)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_many_builds_wait_on_one_connection(house, satellite, status):
    calls = [status() for _ in range(70)]
    async with asyncio.timeout(20):
        await calls[0].read()
        house.gate.awake[satellite].set()
        came = await asyncio.gather(*(all_of(call) for call in calls))
    assert [each[-10:] for each in came] == [STEPS] * 70
