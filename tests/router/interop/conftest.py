"""gRPC's interop server behind a door, on a satellite that is awake (hot) or asleep (cold)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import pytest
from doorkit.callers import CALLERS
from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here
from doorkit.interop import TestService
from doorkit.testing import test_service_pb2_grpc as rpc

from torpor_provisioner.contract import Address

TO_IT = (("satellite", "acme/interop"), ("authorization", "Bearer secret"))


@pytest.fixture
async def service():
    """The worker's state, with its address."""
    made = TestService()  # type: ignore[abstract]
    server = grpc.aio.server()
    rpc.add_TestServiceServicer_to_server(made, server)
    made.address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))  # type: ignore[attr-defined]
    await server.start()
    yield made
    await server.stop(None)


@pytest.fixture(params=["hot", "cold"])
def temper(request):
    return request.param


@pytest.fixture
async def door(house_with, service, temper, until):
    """Cold: the satellite wakes once somebody waits for it."""
    house = await house_with()
    satellite = house.gate.add("acme/interop", service.address, awake=temper == "hot")

    async def wake():
        await until(lambda: house.gate.waiting)
        house.gate.awake[satellite].set()

    waking = asyncio.create_task(wake())
    yield house
    waking.cancel()
    with suppress(asyncio.CancelledError):
        await waking
    await until(lambda: not house.gate.inside.total())
    assert house.door.relay.holds.total == 0
    assert house.gate.waiting == 0


@pytest.fixture(params=CALLERS, ids=lambda each: each.name)
async def caller(request, door):
    made = request.param(door.target, TO_IT)
    yield made
    await made.aclose()
