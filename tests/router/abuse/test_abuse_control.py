"""Strangers who open what needs no credentials, through the door, on a real control server."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from controlkit.fakes import FakeCallers, FakeFleet, asleep
from doorkit.raw import RawClient
from grpc_health.v1 import health_pb2, health_pb2_grpc
from h2.events import DataReceived, StreamEnded
from waiting import LONG

from torpor_provisioner.contract import Address
from torpor_router.control.server import ControlServer
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.control.v1 import torpor_pb2_grpc as rpc

WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
LIST_SERVICES = b"\x3a\x00"  # the request's field 7, empty
CONNECTIONS, STREAMS = 30, 12


@pytest.fixture
async def served(house_with):
    control = ControlServer(FakeFleet(asleep()), FakeCallers(), most_unauthenticated=20)
    address = await control.start(Address("127.0.0.1", 0))
    yield await house_with(own=address)
    await control.aclose()


@pytest.mark.parametrize(("path", "message"), [(WATCH, b""), (REFLECT, LIST_SERVICES)])
async def test_open_streams_without_credentials_keep_no_customer_out(
    served, until, path: str, message: bytes
) -> None:
    clients = []
    for _ in range(CONNECTIONS):
        client = RawClient(*await asyncio.open_connection(*served.address))
        clients.append(client)
        client.start()
        for stream in range(1, 2 * STREAMS, 2):
            client.request(stream, path=path)
            client.message(stream, message, end=path == WATCH)

    def told() -> Counter[str]:
        """How the streams fare, by their codes."""
        fates = Counter[str]()
        for client in clients:
            fates["open"] += len({each.stream_id for each in client.of(DataReceived)})
            for each in client.of(StreamEnded):
                fates[client.answer(each.stream_id)["x-torpor-code"]] += 1
        return fates

    await until(lambda: told().total() == CONNECTIONS * STREAMS)
    assert told() == {"open": 10, "TPR-3015": CONNECTIONS * STREAMS - 10}
    async with served.channel() as channel:
        token = (("authorization", "Bearer acme"),)
        reply = await rpc.SatellitesStub(channel).List(
            pb.ListRequest(), metadata=token, timeout=LONG
        )
        assert [each.name for each in reply.satellites] == ["one"]
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
        assert (await check).status == health_pb2.HealthCheckResponse.SERVING
        for client in clients:
            await client.aclose()
        async with asyncio.timeout(LONG):  # the places are free again
            while not await _watches(channel):
                await asyncio.sleep(0.05)


async def _watches(channel: grpc.aio.Channel) -> bool:
    call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
    try:
        return await call.read() is not grpc.aio.EOF
    except grpc.aio.AioRpcError:
        return False
    finally:
        call.cancel()
