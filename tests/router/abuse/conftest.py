"""A door with small limits, abusers of it, and a neighbour who must not notice."""

from __future__ import annotations

import pytest
from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here
from doorkit.frames import FrameClient, message

from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, Kind


@pytest.fixture
def measured(request):
    """Tell a number for docs/proof.md. (`record_property` warns under junit's xunit2.)"""

    def tell(name, value):
        request.node.user_properties.append((name, str(value)))

    return tell


@pytest.fixture
async def connect():
    """Connect a `FrameClient` to a house."""
    clients = []

    async def to(house, *, greet=True):
        client = await FrameClient.connect(house.address, greet=greet)
        clients.append(client)
        return client

    yield to
    for client in clients:
        await client.aclose()


@pytest.fixture
async def strict(house_with, worker, until):
    """acme/one is awake, acme/two asleep. Afterwards nobody may still be counted in."""
    house = await house_with(
        control_frames=50, settings_frames=20, resets=20, faults=10, header_octets=8_192, linger=0.2
    )
    house.gate.add("acme/one", worker.address)
    house.gate.add("acme/two", worker.address, awake=False)
    yield house
    await until(lambda: not house.gate.inside.total())
    await until(lambda: not house.gate.waiting)
    assert not house.door.relay.holds.total


class Neighbour:
    """A well-behaved client with an open stream, and calls of its own."""

    def __init__(self, client: FrameClient) -> None:
        self._client = client
        self._next = 3

    async def greet(self) -> None:
        self._client.send(self._client.request(1, end=False))
        await self._client.alive()

    async def calls(self) -> None:
        """A whole call."""
        stream, self._next = self._next, self._next + 2
        self._client.send(self._client.request(stream, end=False))
        self._client.send(wire.frame(Kind.DATA, END_STREAM, stream, message(b"call")))
        assert (await self._client.response(stream))[b"grpc-status"] == b"0"

    async def is_unaffected(self) -> None:
        """Its long stream still goes both ways, and so does a new one."""
        await self.calls()
        self._client.send(wire.frame(Kind.DATA, END_STREAM, 1, message(b"undisturbed")))
        assert (await self._client.response(1))[b"grpc-status"] == b"0"
        came = b"".join(each.payload for each in self._client.of(Kind.DATA, 1))
        assert came == message(b"undisturbed"[::-1])


@pytest.fixture
async def neighbour(strict, connect):
    made = Neighbour(await connect(strict))
    await made.greet()
    return made
