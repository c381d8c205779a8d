"""Connections to a door, in each of the three states in which it must know the rules."""

from __future__ import annotations

import pytest
from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here
from doorkit.frames import FrameClient


@pytest.fixture
async def connected(house, until):
    """Connect; afterwards nobody may still be counted in."""
    clients = []

    async def connect(*, to=house, greet=True):
        client = await FrameClient.connect(to.address, greet=greet)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.aclose()
    await until(lambda: not house.door.relay.counts.connections)
    await until(lambda: not house.gate.waiting)
    assert not house.gate.inside.total()
    assert not house.door.relay.holds.total
    assert not house.door.relay.callers.total()


@pytest.fixture(params=["waiting", "paired", "refused"])
def stage(request):
    return request.param


@pytest.fixture
async def client(stage, house, worker, connected, until):
    """A connection whose client has stream 1 open: it waits for its satellite, is paired with its
    worker, or has been refused by the door, as every other request on that connection will be.
    """
    made = await connected()
    if stage == "waiting":
        made.satellite = b"acme/two"
        made.send(made.request(1, end=False))
        await until(lambda: house.gate.waiting == 1)
    elif stage == "paired":
        made.send(made.request(1, end=False))
        await until(lambda: worker.calls)
    else:
        made.satellite = b""
        made.send(made.request(1, end=False))
        assert (await made.response(1))[b"x-torpor-code"] == b"TPR-1001"
    await made.alive()
    made.frames = [each for each in made.frames if each.stream != 1]
    return made
