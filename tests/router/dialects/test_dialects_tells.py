"""Calls that only tell: they never wake, are never held, and fail in no way."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from doorkit.fakes import satellite_id
from doorkit.frames import fields
from h2.events import DataReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes

from torpor_router.access.errors import BadToken
from torpor_router.dialects.messages import bazel_pb2 as bazel
from torpor_router.relay import admission
from torpor_router.relay.streams import LIGHT
from torpor_statemachine.postgres.pool import DatabaseAway

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TELLING = [
    EXPORT,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/google.devtools.build.v1.PublishBuildEvent/PublishLifecycleEvent",
]
EVENTS = "/google.devtools.build.v1.PublishBuildEvent/PublishBuildToolEventStream"
SOLVE = "/moby.buildkit.v1.Control/Solve"
ONE, TWO = satellite_id("acme/one"), satellite_id("acme/two")
OK = grpc.StatusCode.OK


@pytest.mark.parametrize("path", TELLING)
async def test_a_sleeping_satellite_is_told_nothing(house, collector, noticed, to_two, path):
    async with house.channel() as channel:
        call = channel.unary_unary(path)
        assert await call(b"x" * 100_000, metadata=to_two, timeout=20) == b""
        assert await call(b"", metadata=to_two, timeout=20) == b""
    assert not collector.calls
    assert (house.gate.waited, house.gate.entered, noticed.holds) == (0, 0, 0)


@pytest.mark.parametrize("path", TELLING)
async def test_one_that_is_awake_is_told_and_not_kept_awake(house, collector, to_one, path, until):
    collector.answers.clear()
    async with house.channel() as channel:
        calls = [channel.unary_unary(path)(b"told", metadata=to_one) for _ in range(3)]
        await until(lambda: len(collector.told) == 3)
        assert house.gate.entered == 0
        collector.answers.set()
        assert await asyncio.gather(*calls) == [b"the worker"] * 3
    assert house.gate.entered == 0


async def test_a_report_passes_beside_builds_and_only_builds_count(house, collector, to_one, until):
    collector.answers.clear()
    async with house.channel() as channel:
        for _ in range(2):  # read, and then known
            build = channel.unary_unary(SOLVE)(b"build", metadata=to_one)
            told = channel.unary_unary(EXPORT)(b"told", metadata=to_one)
            await until(lambda: len(collector.told) % 2 == 0 and collector.told)
            assert house.gate.inside[ONE] == 1
            collector.answers.set()
            assert await told == await build == b"the worker"
            await until(lambda: house.gate.inside[ONE] == 0)
            collector.told.clear()
            collector.answers.clear()
    assert house.gate.entered == 2


async def test_a_report_is_not_held_behind_a_held_build(house, collector, noticed, to_two, until):
    collector.answers.set()
    async with house.channel() as channel:
        build = channel.unary_unary(SOLVE)(b"build", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        assert await channel.unary_unary(EXPORT)(b"told", metadata=to_two, timeout=20) == b""
        assert house.gate.waiting == 1
        house.gate.awake[TWO].set()
        assert await build == b"the worker"
        assert await channel.unary_unary(EXPORT)(b"told", metadata=to_two) == b"the worker"
    assert noticed.holds == 1


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("satellite", "acme/two"),),
        (("satellite", "acme/two"), ("authorization", "Bearer wrong")),
        (("satellite", "!"), ("authorization", "Bearer secret")),
    ],
    ids=["nothing", "no token", "a wrong token", "no name"],
)
async def test_a_caller_who_is_refused_is_refused_once(house, collector, noticed, metadata):
    house.directory.refused["wrong"] = BadToken()
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(SOLVE)(b"", metadata=metadata)
        assert await channel.unary_unary(EXPORT)(b"told", metadata=metadata, timeout=20) == b""
    assert len(noticed.refusals) == 1
    assert not collector.calls


async def test_another_satellite_on_the_same_connection_is_told_nothing(house, to_one, to_two):
    async with house.channel() as channel:
        assert await channel.unary_unary(SOLVE)(b"", metadata=to_one) == b"the worker"
        assert await channel.unary_unary(EXPORT)(b"", metadata=to_two, timeout=20) == b""


@pytest.mark.parametrize("slow", ["directory", "gate"])
async def test_a_report_waits_briefly_for_its_route(house, to_one, monkeypatch, slow):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(admission, "TELL", 0.05)
    house.directory.slow.add("secret")
    if slow == "directory":
        monkeypatch.setattr(house.directory, "route", never)
    else:
        monkeypatch.setattr(house.gate, "running", never)
    async with house.channel() as channel:
        assert await channel.unary_unary(EXPORT)(b"", metadata=to_one, timeout=20) == b""


async def test_a_report_waits_briefly_for_a_silent_worker(
    house_with, node, to_one, monkeypatch, unused_port
):
    monkeypatch.setattr(admission, "TELL", 0.05)
    house = await house_with(own=node)
    house.gate.add("acme/one", house.address._replace(port=unused_port))
    async with house.channel() as channel:
        assert await channel.unary_unary(EXPORT)(b"", metadata=to_one, timeout=20) == b""
    assert house.gate.entered == 0


async def test_nothing_is_told_while_the_database_is_away(house, to_one, monkeypatch):
    async def away(_):
        raise DatabaseAway("for a test")

    monkeypatch.setattr(house.gate, "running", away)
    async with house.channel() as channel:
        assert await channel.unary_unary(EXPORT)(b"", metadata=to_one, timeout=20) == b""


async def test_when_the_satellite_falls_asleep_under_it_it_is_thanked(
    house, collector, to_one, until
):
    collector.answers.clear()
    async with house.channel() as channel:
        call = channel.unary_unary(EXPORT)(b"told", metadata=to_one, timeout=20)
        await until(lambda: collector.told)
        house.gate.sleep(ONE)
        assert await call == b""
        assert await channel.unary_unary(EXPORT)(b"told", metadata=to_one, timeout=20) == b""
    assert (house.gate.entered, house.gate.waited) == (0, 0)


async def test_a_report_is_broken_off_when_the_satellite_falls_asleep_and_is_not_lost(
    house, collector, to_one, until
):
    """Bazel sends again, on another connection, what was not acknowledged."""
    async with house.channel() as channel:
        call = channel.stream_stream(EVENTS)(metadata=to_one, timeout=20)
        await call.write(b"event")
        assert await call.read() == b"the worker"
        assert house.gate.entered == 0
        house.gate.sleep(ONE)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "TPR-5004" in await call.details()
        again = channel.stream_stream(EVENTS)(metadata=to_one, timeout=20)
        await again.write(_event(b"b", 7))
        assert bazel.PublishBuildToolEventStreamResponse.FromString(
            await again.read()
        ) == bazel.PublishBuildToolEventStreamResponse(stream_id=b"b", sequence_number=7)


def _event(stream, number):
    ordered = bazel.OrderedBuildEvent(stream_id=stream, sequence_number=number)
    return bazel.PublishBuildToolEventStreamRequest(ordered_build_event=ordered).SerializeToString()


async def test_every_event_of_a_report_is_acknowledged(house, collector, noticed, to_two):
    async with house.channel() as channel:
        call = channel.stream_stream(EVENTS)(metadata=to_two, timeout=20)
        for number in range(1, 4):
            await call.write(_event(b"a build", number))
            answer = bazel.PublishBuildToolEventStreamResponse.FromString(await call.read())
            assert (answer.stream_id, answer.sequence_number) == (b"a build", number)
        await call.write(b"\xff")
        assert await call.read() == b""
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is OK
    assert not collector.calls
    assert (house.gate.waited, noticed.holds) == (0, 0)


async def test_when_the_worker_dies_under_it_it_is_thanked(house, collector, to_one, until):
    collector.answers.clear()
    async with house.channel() as channel:
        call = channel.unary_unary(EXPORT)(b"told", metadata=to_one, timeout=20)
        await until(lambda: collector.told)
        [connection] = house.door._connections
        connection._worker.transport.abort()
        assert await call == b""


async def test_a_client_without_room_for_the_thanks_gets_a_code(house, collector, raw, until):
    collector.answers.clear()
    client = await raw(to=house)
    await _close_windows(client, until)
    named = [(n.decode(), v.decode()) for n, v in fields()[6:]]
    client.request(1, *named, path=EXPORT)
    client.message(1, b"told")
    await until(lambda: collector.told)
    house.gate.sleep(ONE)
    await until(lambda: client.of(StreamEnded, 1))
    assert client.answer(1)["x-torpor-code"] == "TPR-5004"


async def _close_windows(client, until):
    """New streams of the client take nothing until it opens their windows."""
    before = len(client.of(SettingsAcknowledged))
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.flush()
    await until(lambda: len(client.of(SettingsAcknowledged)) > before + 1)


async def test_thanks_wait_for_a_tiny_window(house, raw, until):
    client = await raw(to=house)
    await _close_windows(client, until)
    named = [(n.decode(), v.decode()) for n, v in fields(b"acme/two")[6:]]
    client.request(1, *named, path=EXPORT)
    client.message(1, b"told" * 3_000)
    for _ in range(5):
        await asyncio.sleep(0.01)
        client.h2.increment_flow_control_window(1, 1)
        client.flush()
    await until(lambda: client.of(StreamEnded, 1))
    assert b"".join(each.data for each in client.of(DataReceived, 1)) == bytes(5)
    assert client.answer(1)["grpc-status"] == "0"


async def test_a_report_may_be_cancelled_at_any_point(house, collector, raw, until):
    collector.answers.clear()
    for satellite in (b"acme/one", b"acme/two"):
        client = await raw(to=house)
        named = [(n.decode(), v.decode()) for n, v in fields(satellite)[6:]]
        for stream in range(1, 41, 2):
            client.request(stream, *named, path=EXPORT)
            for _ in range(stream // 4):
                await asyncio.sleep(0)
            if stream % 4 == 1 and client.h2.local_flow_control_window(stream) > 2:
                client.h2.send_data(stream, b"\x00\x00")
            client.h2.reset_stream(stream)
            client.flush()
        client.request(41, *named, path=EXPORT)
        client.message(41, b"the last")
        collector.answers.set()
        await until(lambda client=client: client.of(StreamEnded, 41))
        assert client.answer(41)["grpc-status"] == "0"
    assert (house.gate.entered, house.gate.waited) == (0, 0)
    for connection in house.door._connections:
        assert not connection.pair.streams.states
        assert not connection.pair.streams.held


async def test_what_tells_is_no_reason_to_stay(house, collector, to_one, until):
    """A stream that lasts is light to its end."""
    async with house.channel() as channel:
        call = channel.stream_stream(EVENTS)(metadata=to_one, timeout=20)
        await call.write(b"event")
        await call.read()
        [connection] = house.door._connections
        assert [state & LIGHT for state in connection.pair.streams.states.values()] == [LIGHT]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert not connection.pair.streams.states
    assert house.gate.inside[ONE] == 0
