"""What those without credentials can do to the node's own services: not much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from controlkit.fakes import asleep
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from waiting import LONG, until

from torpor_provisioner.errors import TorporError
from torpor_router.control.v1 import torpor_pb2 as pb

SERVING = health_pb2.HealthCheckResponse.SERVING


def from_(address: str) -> tuple[tuple[str, str], ...]:
    """As the door says where a call comes from."""
    return (("x-torpor-peer", address),)


def watch(house: Any, address: str) -> Any:
    stub = health_pb2_grpc.HealthStub(house.channel)
    return stub.Watch(health_pb2.HealthCheckRequest(), timeout=LONG, metadata=from_(address))  # type: ignore[attr-defined]


def reflect(house: Any, address: str) -> Any:
    async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        await asyncio.Event().wait()

    stub = reflection_pb2_grpc.ServerReflectionStub(house.channel)
    return stub.ServerReflectionInfo(requests(), timeout=LONG, metadata=from_(address))  # type: ignore[operator]


async def answered(call: Any) -> bool:
    """Whether it was given a place."""
    return await call.read() is not grpc.aio.EOF


@pytest.mark.parametrize("open_one", [watch, reflect])
async def test_open_calls_without_credentials_have_places_of_their_own(
    control, code, open_one
) -> None:
    house = await control(asleep(), most_unauthenticated=8)
    calls = [open_one(house, f"192.0.2.1:{n}") for n in range(20)]
    told = [await _outcome(call, code) for call in calls]
    assert (told.count("answered"), told.count("TPR-3015")) == (4, 16)
    elsewhere = open_one(house, "192.0.2.2:1")
    assert await _outcome(elsewhere, code) == "answered", "one host cannot take every place"
    other = reflect if open_one is watch else watch
    assert await _outcome(other(house, "192.0.2.1:1"), code) == "answered"
    check = health_pb2_grpc.HealthStub(house.channel).Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
    assert (await check).status == SERVING
    reply = await house.stub.Get(pb.GetRequest(name="one"), metadata=house.token, timeout=LONG)
    assert reply.satellite.name == "one"
    for call in calls:
        call.cancel()
    async with asyncio.timeout(LONG):
        while await _outcome(open_one(house, "192.0.2.1:1"), code) != "answered":
            await asyncio.sleep(0.01)


async def _outcome(call: Any, code: Any) -> str:
    try:
        return "answered" if await call.read() is not grpc.aio.EOF else "ended"
    except grpc.aio.AioRpcError as error:
        return code(error)


@pytest.mark.parametrize("open_one", [watch, reflect])
async def test_strangers_connections_end_after_a_while(control, code, open_one) -> None:
    house = await control(unauthenticated_life=0.1)
    call = open_one(house, "192.0.2.1:1")
    told = [await _outcome(call, code), await _outcome(call, code)]
    assert told == ["answered", "TPR-5302"]
    assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_orgs_share_the_places_of_calls(control, code) -> None:
    house = await control(asleep(), most_calls=8)
    follow = [
        house.stub.Follow(pb.FollowRequest(name="one"), metadata=house.token, timeout=LONG)
        for _ in range(4)
    ]
    for call in follow:
        await call.read()
    error = await house.refused("Get", pb.GetRequest(name="one"))
    assert (error.code(), code(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TPR-3014")
    theirs = (("authorization", "Bearer globex"),)
    await house.stub.List(pb.ListRequest(), metadata=theirs, timeout=LONG)
    follow[0].cancel()
    async with asyncio.timeout(LONG):
        while not await _lists(house):
            await asyncio.sleep(0.01)


async def _lists(house: Any) -> bool:
    try:
        await house.stub.List(pb.ListRequest(), metadata=house.token, timeout=LONG)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_callers_being_looked_up_take_no_customers_place(control, code) -> None:
    house = await control(asleep(), most_calls=4)
    house.callers.gate.clear()  # for unknown tokens
    strangers = [
        asyncio.create_task(
            house.refused("List", pb.ListRequest(), metadata=(("satellite_token", f"wrong{n}"),))
        )
        for n in range(50)
    ]
    await until(lambda: house.callers.waiting >= 50)
    reply = await house.stub.Get(pb.GetRequest(name="one"), metadata=house.token, timeout=LONG)
    assert reply.satellite.name == "one"
    house.callers.gate.set()
    assert {code(await each) for each in strangers} == {"TPR-1003"}


HEALTH, SATELLITES = "/grpc.health.v1.Health/Check", "/torpor.v1.Satellites/Get"
ACME = (("authorization", "Bearer acme"),)


@pytest.mark.parametrize(
    ("path", "octets", "metadata", "told"),
    [
        (SATELLITES, b"\xff\xff", ACME, "TPR-1109"),
        (SATELLITES, b"\xff\xff", (), "TPR-1003"),
        (SATELLITES, b"\x0a\x01\xff", ACME, "TPR-1109"),  # a name that is not UTF-8
        (SATELLITES, b"\x00" * 70_000, ACME, "TPR-5303"),
        (SATELLITES, b"\x00" * 70_000, (), "TPR-1003"),
        (SATELLITES, None, ACME, "TPR-1109"),
        ("/torpor.v1.Satellites/Wake", b"\xff\xff", ACME, "TPR-1109"),
        (HEALTH, b"\xff\xff", (), "TPR-1109"),
        ("/grpc.health.v1.Health/Watch", b"\xff\xff", (), "TPR-1109"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\xff", (), "TPR-1109"),
    ],
)
async def test_a_message_that_cannot_be_read(
    control, code, caplog, path: str, octets: bytes | None, metadata: Any, told: str
) -> None:
    house = await control(asleep())
    messages = iter([octets] if octets is not None else [])
    call = house.channel.stream_unary(path)(messages, metadata=metadata, timeout=LONG)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    assert code(failed.value) == told
    assert not [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize("key", ["authorization", "satellite_token"])
async def test_a_credential_that_stands_there_twice_is_none(control, code, key: str) -> None:
    house = await control(asleep())
    value = "Bearer acme" if key == "authorization" else "acme"
    error = await house.refused("List", pb.ListRequest(), metadata=((key, value), (key, value)))
    assert code(error) == "TPR-1003"
    assert "twice" in error.details()


class Seen(list[tuple[str, str, str, str]]):
    def refused(self, error: TorporError, org: str, caller: str, peer: str) -> None:
        self.append((error.code, org, caller, peer))


async def test_every_refusal_is_told_to_telemetry(control) -> None:
    seen = Seen()
    house = await control(asleep(), observer=seen, most_unauthenticated=1)
    wrong = (("authorization", "Bearer wrong"), *from_("192.0.2.1:7"))
    await house.refused("List", pb.ListRequest(), metadata=wrong)
    await house.refused("Get", pb.GetRequest(name="none"))
    first, second = watch(house, "192.0.2.9:1"), watch(house, "192.0.2.9:2")
    assert await answered(first)
    with pytest.raises(grpc.aio.AioRpcError):
        await second.read()
    assert seen == [
        ("TPR-1003", "", "", "192.0.2.1:7"),
        ("TPR-2009", "acme", "token:ci", ""),
        ("TPR-3015", "", "", "192.0.2.9:2"),
    ]
