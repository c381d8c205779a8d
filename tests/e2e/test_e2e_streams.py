"""Every shape of a gRPC stream through the door, to a satellite awake and to one asleep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from clientkit.untyped import untyped
from e2ekit.deployment import Deployment, Satellite
from google.protobuf import wrappers_pb2
from grpc_status import rpc_status
from waiting import LONG, until

MIB = 1 << 20
RESUME_DELAY = 1.0  # seconds
SERVICE = "/torpor.test.Shapes/"


@dataclass
class Way:
    """A channel through the door to a worker of every shape."""

    channel: grpc.aio.Channel
    satellite: Satellite
    deployment: Deployment
    held: bool  # its first request

    @property
    def with_metadata(self) -> dict[str, Any]:
        return {"metadata": self.satellite.metadata, "timeout": LONG}

    async def unary(self, name: str, request: bytes = b"", **options: Any) -> bytes:
        return await untyped(self.channel).unary_unary(SERVICE + name)(
            request, **{**self.with_metadata, **options}
        )


@pytest.fixture(params=["hot", "held"])
async def way(request: pytest.FixtureRequest, torpor, shapes) -> AsyncIterator[Way]:
    deployment = await torpor(LOCAL_WORKER=shapes, LOCAL_RESUME_DELAY=RESUME_DELAY)
    satellite = await deployment.satellite("acme/one")
    async with deployment.nodes[0].channel() as channel:
        way = Way(channel, satellite, deployment, held=request.param == "held")
        if not way.held:
            assert await way.unary("Unary", b"wake") == b"wake"
        yield way
    assert deployment.wakes(satellite) == 1


async def each(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def test_shapes(way: Way) -> None:
    channel, options = way.channel, way.with_metadata
    down = untyped(channel).unary_stream(SERVICE + "Down")(b"3", **options)
    assert [each async for each in down] == [b"0", b"1", b"2"]
    assert (
        await untyped(channel).stream_unary(SERVICE + "Up")(each(b"a", b"b"), **options) == b"a|b"
    )
    assert await way.unary("Unary", b"x") == b"x"


async def test_a_conversation(way: Way) -> None:
    call = untyped(way.channel).stream_stream(SERVICE + "Both")(**way.with_metadata)
    for word in (b"one", b"two", b"three"):  # each answered before the next is said
        await call.write(word)
        assert await call.read() == word[::-1]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_large_messages(way: Way) -> None:
    large = bytes(range(256)) * (9 * MIB // 256)
    assert await way.unary("Unary", large) == large
    call = untyped(way.channel).stream_stream(SERVICE + "Both")(
        each(large, b"end"), **way.with_metadata
    )
    assert [each async for each in call] == [large[::-1], b"dne"]


async def test_metadata_and_trailers(way: Way) -> None:
    sent = (("echo-text", "a, b"), ("echo-data-bin", bytes(range(256))), ("plain", "kept"))
    call = untyped(way.channel).unary_unary(SERVICE + "Metadata")(
        b"", metadata=(*way.satellite.metadata, *sent), timeout=LONG
    )
    names = (await call).decode().split()
    assert "plain" in names
    assert "satellite" not in names, "what the door consumed is stripped"
    assert "authorization" not in names
    expected = {name: value for name, value in sent if name.startswith("echo-")}
    for told in (await call.initial_metadata(), await call.trailing_metadata()):
        assert expected.items() <= dict(told).items()


async def test_status_details(way: Way) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await way.unary("Fail")
    error = failed.value
    assert error.code() is grpc.StatusCode.DATA_LOSS
    assert error.details() == "100% verloren: ö\n"
    trailers = dict(error.trailing_metadata())
    assert trailers["why-bin"] == b"\x00\xff"
    [detail] = rpc_status.status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details  # type: ignore[attr-defined]
    value = wrappers_pb2.StringValue()
    assert detail.Unpack(value)
    assert value.value == "all of it"


async def test_unknown_methods_are_the_workers_to_refuse(way: Way) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await way.unary("None")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "TPR" not in (failed.value.details() or "")


async def test_the_deadline_goes_on_while_held(way: Way) -> None:
    begun = asyncio.get_running_loop().time()
    remaining = float(await way.unary("Remaining", timeout=60))
    passed = asyncio.get_running_loop().time() - begun
    most = 60 - RESUME_DELAY if way.held else 60
    assert 60 - passed - 1 <= remaining <= most + 0.5, "clients round what they send up"


async def test_a_deadline_ends_a_call_that_hangs(way: Way) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await way.unary("Hang", b"deadline", timeout=3)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await noticed(way, "deadline.cancelled")
    assert await way.unary("Unary", b"x") == b"x"


async def test_cancelling_reaches_the_worker(way: Way) -> None:
    call = untyped(way.channel).unary_unary(SERVICE + "Hang")(b"cancel", **way.with_metadata)
    await noticed(way, "cancel.started")
    call.cancel()
    await noticed(way, "cancel.cancelled")
    assert await way.unary("Unary", b"x") == b"x"


async def test_a_request_cancelled_while_held_reaches_nobody(torpor, shapes) -> None:
    deployment = await torpor(LOCAL_WORKER=shapes, LOCAL_RESUME_DELAY=2)
    satellite = await deployment.satellite("acme/one")
    async with deployment.nodes[0].channel() as channel:
        way = Way(channel, satellite, deployment, held=True)
        call = channel.unary_unary(SERVICE + "Hang")(b"gone", **way.with_metadata)
        await deployment.becomes(satellite, "waking")
        call.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await way.unary("Unary", timeout=0.2)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await way.unary("Unary", b"x") == b"x"
    assert not list(deployment.local.folder.rglob("gone.*"))
    assert deployment.wakes(satellite) == 1


async def noticed(way: Way, file: str) -> None:
    await until(lambda: list(way.deployment.local.folder.rglob(file)))
