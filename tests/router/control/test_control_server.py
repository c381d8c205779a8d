"""The server itself: where it listens, its health and reflection, and how it drains."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from controlkit.fakes import FakeCallers, FakeFleet, asleep
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from waiting import LONG, until

from torpor_provisioner.contract import Address
from torpor_router.control.adapter import SATELLITES
from torpor_router.control.server import ControlServer
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.control.v1 import torpor_pb2_grpc as rpc


async def test_a_drain_sends_watchers_away_and_turns_health(control, code) -> None:
    house = await control(asleep())
    probe = health_pb2_grpc.HealthStub(house.channel)
    for service in ("", SATELLITES.full_name):
        reply = await probe.Check(health_pb2.HealthCheckRequest(service=service), timeout=LONG)  # type: ignore[attr-defined]
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    watching = asyncio.create_task(house.refused("Follow", pb.FollowRequest(name="one")))
    await until(lambda: house.fleet.followers)
    await asyncio.wait_for(house.server.drain(LONG), LONG / 2)
    error = await watching
    assert (error.code(), code(error)) == (grpc.StatusCode.UNAVAILABLE, "TPR-5001")
    reply = await probe.Check(  # type: ignore[attr-defined]
        health_pb2.HealthCheckRequest(service=SATELLITES.full_name), timeout=LONG
    )
    assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
    error = await house.refused("Get", pb.GetRequest(name="one"))
    assert code(error) == "TPR-5001"


async def _end_of(call: Any) -> None:
    async for _ in call:
        pass


async def test_a_drain_ends_open_health_watches(control, code) -> None:
    house = await control()
    watch = health_pb2_grpc.HealthStub(house.channel).Watch(  # type: ignore[attr-defined]
        health_pb2.HealthCheckRequest(), timeout=LONG
    )
    assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
    await house.server.drain(LONG)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await _end_of(watch)  # NOT_SERVING may come first
    assert (ended.value.code(), code(ended.value)) == (grpc.StatusCode.UNAVAILABLE, "TPR-5001")


async def test_a_drain_ends_a_watch_whose_first_message_is_under_way(control, code) -> None:
    """Which of these turns that is cannot be told beforehand."""
    for turns in range(12):
        house = await control()
        await house.channel.channel_ready()
        watch = health_pb2_grpc.HealthStub(house.channel).Watch(  # type: ignore[attr-defined]
            health_pb2.HealthCheckRequest(), timeout=LONG
        )
        while not house.server._unauthenticated.open:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await house.server.drain(LONG)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await _end_of(watch)
        assert (ended.value.code(), code(ended.value)) == (grpc.StatusCode.UNAVAILABLE, "TPR-5001")


async def test_a_drain_waits_no_longer_than_its_limit(control, caplog) -> None:
    house = await control(asleep())
    house.fleet.gate.clear()
    waiting = asyncio.create_task(house.refused("Wake", pb.WakeRequest(name="one")))
    await house.fleet.until("wake")
    await asyncio.wait_for(house.server.drain(0.05), LONG)
    assert "1 control calls" in caplog.text
    house.fleet.gate.set()
    await asyncio.wait_for(waiting, LONG)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_the_services_can_be_listed_and_described(control, version: str) -> None:
    """In both versions of reflection, whose messages are the same octets."""
    house = await control()
    call = house.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    services = {
        "torpor.v1.Satellites",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=s) for s in services]
    listed, *described = [reply async for reply in call(iter(requests), timeout=LONG)]
    assert {each.name for each in listed.list_services_response.service} == services
    pool = DescriptorPool()
    for reply in described:
        files = [
            FileDescriptorProto.FromString(octets)
            for octets in reply.file_descriptor_response.file_descriptor_proto
        ]
        for file in reversed(files):  # what is imported comes last
            pool.Add(file)
    for name in services:
        assert pool.FindServiceByName(name).methods


async def test_the_control_server_listens_on_a_private_socket(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("left behind")
    path.unlink()
    server = ControlServer(FakeFleet(asleep()), FakeCallers())
    assert await server.start(path) == path
    assert path.stat().st_mode & 0o777 == 0o600
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        reply = await rpc.SatellitesStub(channel).Get(
            pb.GetRequest(name="one"), metadata=(("satellite_token", "acme"),), timeout=LONG
        )
    assert reply.satellite.state == pb.STATE_ASLEEP
    await server.aclose()
    assert not path.exists()


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    for _ in range(2):
        server = ControlServer(FakeFleet(), FakeCallers())
        await server.start(path)
        server._socket = None  # as if it had been killed
        await server.aclose()


async def test_where_it_cannot_listen_it_says_so(tmp_path: Path) -> None:
    first = ControlServer(FakeFleet(), FakeCallers())
    taken = await first.start(Address("127.0.0.1", 0))
    assert isinstance(taken, Address)
    second = ControlServer(FakeFleet(), FakeCallers())
    with pytest.raises(OSError, match="cannot listen"):
        await second.start(taken)
    with pytest.raises(ValueError, match="longer than"):
        await second.start(tmp_path / ("x" * 200))
    await second.aclose()
    await first.aclose()
