"""What client libraries of several languages do by themselves, against a real door and node."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing

import pytest
from controlkit.fakes import FakeCallers, FakeFleet
from doorkit.fakes import satellite_id
from doorkit.frames import split
from doorkit.libraries import GRPC_GO, LIBRARIES, Outcome

from torpor_provisioner.contract import Address
from torpor_router.control.server import ControlServer
from torpor_router.h2.wire import ACK, Kind
from torpor_statemachine.errors import PutToSleep

OK, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE = 0, 1, 4, 14
DONE = Outcome(OK, "")
UNARY, BOTH, HANG, CHECK = "/t.T/Unary", "/t.T/Both", "/t.T/Hang", "/grpc.health.v1.Health/Check"
HEALTH_CHECKED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
}
SATELLITES = {"hot": "acme/one", "cold": "acme/two"}


@pytest.fixture
async def node():
    """The node's real services."""
    fleet = FakeFleet()
    server = ControlServer(fleet, FakeCallers())
    server.address = await server.start(Address("127.0.0.1", 0))  # type: ignore[attr-defined]
    yield server
    await server.aclose()
    await fleet.aclose()


@pytest.fixture
async def house(house_with, node, worker, until):
    """A door in front of the node, acme/one, which is awake, and acme/two, which sleeps."""
    house = await house_with(own=node.address)
    house.gate.add("acme/one", worker.address)
    house.gate.add("acme/two", worker.address, awake=False)
    yield house
    await until(lambda: not house.door.relay.counts.connections)
    assert not house.gate.inside.total()
    assert not house.door.relay.holds.total
    assert house.door.relay.counts.streams == 0


@pytest.fixture(params=LIBRARIES, ids=lambda each: each.name)
def library(request):
    return request.param


@pytest.fixture(params=["hot", "cold"])
def name(request):
    return SATELLITES[request.param]


@pytest.fixture
def metadata(name):
    return (("satellite", name), ("authorization", "Bearer secret"))


@pytest.fixture
def woken(house, name, until):
    """Wake a satellite that sleeps, once so many calls wait for it."""

    async def wake(waiting):
        awake = house.gate.awake[satellite_id(name)]
        if not awake.is_set():
            await until(lambda: house.gate.waiting == waiting)
            awake.set()

    return wake


def counted(outcomes):
    return {each: outcomes.count(each) for each in outcomes}


async def test_client_side_health_checking(library, node, house, metadata, woken, until):
    """A `Health/Watch` without metadata comes first on the connection, and lives as long."""
    async with library.channel(house.target, config=HEALTH_CHECKED) as channel:
        first = channel.begin(UNARY, metadata)
        await woken(1)
        outcomes = [await first.outcome]
        outcomes += [await channel.call(UNARY, metadata) for _ in range(20)]
        assert counted(outcomes) == {DONE: 21}
        assert house.gate.entered == 21
        assert house.door.relay.counts.connections_opened == 1
        await until(lambda: len(node._unauthenticated.open) == int(library.health))


async def test_one_channel_for_the_node_and_a_satellite(library, house, metadata, woken):
    async with library.channel(house.target) as channel:
        held = [channel.begin(UNARY, metadata) for _ in range(10)]
        outcomes = [await channel.call(CHECK) for _ in range(10)]
        await woken(10)
        outcomes += [await each.outcome for each in held]

        async def ask(path, *how):
            return [await channel.call(path, *how) for _ in range(50)]

        for more in await asyncio.gather(ask(CHECK), ask(UNARY, metadata), ask(UNARY, metadata)):
            outcomes += more
    assert counted(outcomes) == {DONE: 170}
    assert house.gate.entered == 110
    assert house.door.relay.counts.connections_opened == 1


async def test_a_forced_sleep_ends_an_open_stream(library, house, metadata, name, woken):
    async with library.channel(house.target) as channel:
        stream = channel.begin(BOTH, metadata, stream=True)
        await woken(1)
        await stream.came.wait()
        house.gate.sleep(satellite_id(name), PutToSleep())
        outcome = await stream.outcome
        assert outcome.code == UNAVAILABLE
        assert outcome.details.startswith("TPR-2102 ")
        again = channel.begin(UNARY, metadata)  # on the same channel, and it wakes once more
        await woken(1)
        assert await again.outcome == DONE


@pytest.mark.parametrize("name", ["acme/two"], ids=["cold"])
async def test_a_deadline_that_passes_while_held(library, house, metadata, woken, until):
    async with library.channel(house.target) as channel:
        assert await channel.call(CHECK) == DONE
        held = channel.begin(UNARY, metadata, deadline=1.0)
        await until(lambda: house.gate.waiting == 1)
        assert (await held.outcome).code == DEADLINE_EXCEEDED
        await until(lambda: not house.door.relay.holds.total and not house.gate.waiting)
        assert house.gate.entered == 0
        later = channel.begin(UNARY, metadata)
        await woken(1)
        assert await later.outcome == DONE


@pytest.mark.parametrize("name", ["acme/two"], ids=["cold"])
async def test_a_cancelled_call_waits_no_longer(library, house, metadata, until):
    async with library.channel(house.target) as channel:
        held = channel.begin(UNARY, metadata)
        await until(lambda: house.gate.waiting == 1)
        held.cancel()
        assert (await held.outcome).code == CANCELLED
        await until(lambda: not house.door.relay.holds.total and not house.gate.waiting)
        assert house.gate.entered == 0


async def test_a_cancelled_call_ends_at_the_worker(library, house, worker, metadata, woken):
    async with library.channel(house.target) as channel:
        running = channel.begin(HANG, metadata)
        await woken(1)
        await worker.started.wait()
        running.cancel()
        assert (await running.outcome).code == CANCELLED
        await worker.cancelled.wait()


class Tap:
    """Stands between clients and a door, and counts the PINGs that the door answers."""

    def __init__(self) -> None:
        self.answered = 0
        self._both_ways: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def before(self, address):
        async def accept(client, to_client):
            door, to_door = await asyncio.open_connection(*address)
            for way in (self._up(client, to_door), self._down(door, to_client)):
                self._both_ways.append(asyncio.create_task(way))

        async with await asyncio.start_server(accept, "127.0.0.1") as server:
            yield "{}:{}".format(*server.sockets[0].getsockname())
            for way in self._both_ways:
                way.cancel()
            await asyncio.gather(*self._both_ways, return_exceptions=True)

    async def _up(self, client, to_door):
        with closing(to_door):
            while octets := await client.read(65_536):
                to_door.write(octets)

    async def _down(self, door, to_client):
        seen = b""
        with closing(to_client):
            while octets := await door.read(65_536):
                to_client.write(octets)
                frames, seen = split(seen + octets)
                self.answered += sum(
                    each.kind == Kind.PING and bool(each.flags & ACK) for each in frames
                )


@pytest.mark.parametrize("name", ["acme/two"], ids=["cold"])
@pytest.mark.parametrize(
    "library",
    [
        pytest.param(each, id=each.name, marks=pytest.mark.slow if each is GRPC_GO else ())
        for each in LIBRARIES
    ],
)
async def test_keepalive_is_answered_while_held(library, house, metadata, woken, until):
    """grpc-go takes no less than 10 s for it, so it is among the long forms."""
    tap = Tap()
    async with (
        tap.before(house.address) as target,
        library.channel(target, keepalive=library.shortest_keepalive) as channel,
    ):
        held = channel.begin(UNARY, metadata)
        await until(lambda: house.gate.waiting == 1)
        before = tap.answered
        await until(lambda: tap.answered > before)
        await woken(1)
        assert await held.outcome == DONE
        assert house.door.relay.counts.connections_opened == 1
