"""Whole builds of the clients that Torpor is for, in the order in which they make their calls."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from clientkit.builders import BuildkitClient, Told, bazel, earthbuild
from clientkit.buildkitd import BRIDGE, CONTROL, PING, STEPS, Buildkitd
from doorkit.fakes import satellite_id
from doorkit.serving import serving
from waiting import until

BK = satellite_id("acme/bk")
NAMED = (("satellite", "acme/bk"), ("authorization", "Bearer secret"))
LIST, INFO = f"{CONTROL}ListWorkers", f"{CONTROL}Info"
COLD = ["Status", "Session", "Solve", "LLBSolve", "LLBReturn"]  # Ping is answered
BUILD = [*COLD, "LLBPing"]


@pytest.fixture
async def worker():
    made = Buildkitd()
    async with serving(made) as made.address:
        yield made


@pytest.fixture
def awake(house, worker):
    house.gate.add("acme/bk", worker.address)
    return house


@pytest.fixture
async def asleep(house, worker, shelf):
    """It has answered before."""
    house.gate.add("acme/bk", worker.address, awake=False)
    await shelf.keep(BK, 1, LIST, b"as it was")
    await shelf.keep(BK, 1, INFO, b"as it was")
    await shelf.keep(BK, 1, f"{BRIDGE}Ping", PING)
    return house


def of(worker, build):
    return [method for method, id_ in worker.calls if id_ == build]


async def nobody_is_left(house):
    await until(lambda: house.gate.inside[BK] == 0 and house.gate.waiting == 0)


async def test_buildctl_on_one_that_is_awake(awake, worker):
    async with awake.channel() as channel:
        shown = await BuildkitClient(channel, NAMED, "b1").buildctl()
    assert shown.solved == b"solved"
    assert shown.pongs
    assert shown.steps == [f"step {n}" for n in range(STEPS)]
    assert of(worker, "b1")[0] == "ListWorkers"
    assert sorted(of(worker, "b1")[1:-1]) == sorted(BUILD)
    assert of(worker, "b1")[-1] == "Export"
    assert worker.traces == [b"a trace"]
    assert awake.gate.waited == 0
    await nobody_is_left(awake)


async def test_buildctl_on_one_that_sleeps_is_let_in_by_its_build(asleep, worker, noticed):
    async with asleep.channel() as channel:
        client = BuildkitClient(channel, NAMED, "b1")
        building = asyncio.create_task(client.buildctl())
        await client.started.wait()
        await until(lambda: asleep.gate.waiting == 4)  # ListWorkers is answered: it is none of them
        assert not worker.calls
        asleep.gate.awake[BK].set()
        shown = await building
    assert shown.solved == b"solved"
    assert shown.steps[-STEPS:] == [f"step {n}" for n in range(STEPS)]
    assert sorted(of(worker, "b1")[:-1]) == sorted(COLD)
    assert worker.traces == [b"a trace"]
    assert noticed.holds == 4
    await nobody_is_left(asleep)


async def test_ten_builds_at_once(asleep, worker):
    async with asyncio.TaskGroup() as group:
        channels = [asleep.channel() for _ in range(10)]
        clients = [BuildkitClient(each, NAMED, f"b{n}") for n, each in enumerate(channels)]
        builds = [group.create_task(each.buildctl()) for each in clients]
        await until(lambda: asleep.gate.waiting == 40)
        asleep.gate.awake[BK].set()
    assert [each.result().solved for each in builds] == [b"solved"] * 10
    assert len(worker.traces) == 10
    for channel in channels:
        await channel.close()
    await nobody_is_left(asleep)


async def test_buildx_with_its_probe(asleep, worker):
    async with asleep.channel() as channel:
        client = BuildkitClient(channel, NAMED, "b1")
        probe = BuildkitClient(channel, NAMED, "probe")
        building = asyncio.create_task(client.buildx(probe))
        await client.started.wait()  # the probe is over, and nothing has woken
        assert not of(worker, "probe")
        await until(lambda: asleep.gate.waiting == 4)
        asleep.gate.awake[BK].set()
        shown = await building
    assert shown.solved == b"solved"
    assert not of(worker, "probe")
    assert {*COLD, "ListenBuildHistory", "Export"} <= set(of(worker, "b1"))
    await nobody_is_left(asleep)


async def test_ctrl_c_while_it_wakes(asleep, worker, noticed):
    """The build is given up, its trace is thanked for at once, and nothing has been built."""
    async with asleep.channel() as channel:
        client = BuildkitClient(channel, NAMED, "b1")
        building = asyncio.create_task(client.buildctl())
        await until(lambda: asleep.gate.waiting == 4)
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)
        assert await asyncio.wait_for(client.export(), 20) == b""
    await nobody_is_left(asleep)
    assert not worker.calls
    assert not noticed.refusals


async def test_a_build_that_is_given_up_ends_with_all_that_serves_it(asleep, worker, noticed):
    """buildctl half-closes its session and waits for its end, and reads its progress to the end.

    Neither carries the id of its build.
    """
    async with asleep.channel() as channel:
        status = channel.unary_stream(f"{CONTROL}Status")(b"ref", metadata=NAMED)
        session = channel.stream_stream(f"{CONTROL}Session")(metadata=NAMED)
        await session.done_writing()
        solves = [channel.unary_unary(f"{CONTROL}Solve")(b"", metadata=NAMED) for _ in range(2)]
        other = channel.unary_unary(f"{CONTROL}Prune")(b"", metadata=NAMED)
        await until(lambda: asleep.gate.waiting == 5)
        solves[0].cancel()
        await until(lambda: asleep.gate.waiting == 4)  # the other build may be theirs
        solves[1].cancel()
        for call in (session, status):
            assert await asyncio.wait_for(call.code(), 20) is grpc.StatusCode.CANCELLED
            assert "TPR-1011" in await call.details()
        await until(lambda: asleep.gate.waiting == 1)
        assert not other.done()
        other.cancel()
    assert not worker.calls
    assert not noticed.refusals
    await nobody_is_left(asleep)


async def test_a_client_that_dies_with_its_worker_wakes_nothing(awake, worker):
    """It exports its trace on its way out, when its satellite is no longer awake."""
    async with awake.channel() as channel:
        client = BuildkitClient(channel, NAMED, "b1")
        building = asyncio.create_task(client.unary(f"{CONTROL}Solve"))
        await until(worker.builds["b1"].begun.is_set)
        awake.gate.sleep(BK)
        [connection] = awake.door._connections
        connection._worker.transport.abort()
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await building
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await asyncio.wait_for(client.export(), 20) == b""
    assert (awake.gate.waited, len(worker.traces)) == (0, 0)


async def test_earthbuild_with_its_own_metadata(asleep, worker):
    names = (("satellite_org", "acme"), ("satellite_name", "bk"), ("satellite_token", "secret"))
    async with asleep.channel() as channel:
        building = asyncio.create_task(earthbuild(channel, names, "e1"))
        await until(lambda: asleep.gate.waiting == 1)  # its Reserve, which is there to wake
        asleep.gate.awake[BK].set()
        assert (await building).solved == b"solved"
    assert of(worker, "e1")[:3] == ["Reserve", "ListWorkers", "Info"]
    await nobody_is_left(asleep)


class BazelWorker(grpc.GenericRpcHandler):
    def __init__(self):
        self.calls = []

    def service(self, details):
        self.calls.append(details.method.rpartition("/")[2])
        if details.method.endswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(self.events)
        if details.method.endswith("Execute"):
            return grpc.unary_stream_rpc_method_handler(self.execute)
        return grpc.unary_unary_rpc_method_handler(self.unary)

    async def unary(self, request, context):
        return b""

    async def execute(self, request, context):
        yield b"queued"
        yield b"done"

    async def events(self, requests, context):
        async for _ in requests:
            yield b"\x10\x63"  # sequence_number: 99


@pytest.mark.parametrize("sleeps", [True, False], ids=["asleep", "awake"])
async def test_bazel_with_its_build_events(house, sleeps):
    made = BazelWorker()
    async with (
        serving(made) as address,
        house.channel() as channel,
        house.channel() as events,
    ):
        house.gate.add("acme/bk", address, awake=not sleeps)
        told = Told()
        building = asyncio.create_task(bazel(channel, events, NAMED, told))
        if sleeps:
            await until(lambda: house.gate.waiting == 1)
            assert not made.calls
            await until(lambda: len(told.acknowledged) == 3)
            house.gate.awake[BK].set()
        await building
    assert told.executed == [b"queued", b"done"]
    assert told.acknowledged == ([1, 2, 3] if sleeps else [99, 99, 99])
    assert ("PublishLifecycleEvent" in made.calls) is not sleeps
    await until(lambda: house.gate.inside[BK] == 0)
