"""Calls that only look: the worker's last answer is as good while it is not awake."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from doorkit.fakes import satellite_id
from h2.events import DataReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes

from torpor_router.access.errors import BadToken
from torpor_router.dialects.looks import GIVEN_AT

LIST = "/moby.buildkit.v1.Control/Info"
INFO = "/moby.buildkit.v1.frontend.LLBBridge/Ping"
SOLVE = "/moby.buildkit.v1.frontend.LLBBridge/Solve"
ONE, TWO = satellite_id("acme/one"), satellite_id("acme/two")


def sleeps(house, satellite=ONE):
    house.gate.sleep(satellite)


async def test_the_answer_of_one_that_is_awake_is_kept(house, shelf, to_one, until):
    async with house.channel() as channel:
        for _ in range(3):
            call = channel.unary_unary(LIST)(b"?", metadata=to_one)
            assert await call == b"the worker"
            assert GIVEN_AT not in dict(await call.initial_metadata())
        await channel.unary_unary(SOLVE)(b"?", metadata=to_one)
        await channel.unary_unary(INFO)(b"?", metadata=to_one)
        await until(lambda: len(shelf.writes) == 2)
    assert shelf.writes == [(ONE, 1, LIST), (ONE, 1, INFO)]
    assert shelf.kept[ONE, LIST].octets == b"the worker"
    assert shelf.reads == 0


async def test_a_look_at_one_that_sleeps_is_answered_and_wakes_nothing(
    house, shelf, collector, noticed, to_one, until
):
    async with house.channel() as channel:
        await channel.unary_unary(LIST)(b"?", metadata=to_one)
        await until(lambda: shelf.kept)
        collector.calls.clear()
        sleeps(house)
        for _ in range(3):
            call = channel.unary_unary(LIST)(b"?" * 100_000, metadata=to_one, timeout=20)
            assert await call == b"the worker"
            told = dict(await call.initial_metadata())
            assert told[GIVEN_AT] == "2026-01-02T03:04:05+00:00"
    assert not collector.calls
    assert (house.gate.waited, noticed.holds) == (0, 0)


async def test_what_builds_wakes_it_and_a_look_is_answered_meanwhile(
    house, shelf, collector, to_two, until
):
    await shelf.keep(TWO, 1, INFO, b"as it was")
    async with house.channel() as channel:
        build = channel.unary_unary(SOLVE)(b"build", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        assert await channel.unary_unary(INFO)(b"?", metadata=to_two, timeout=20) == b"as it was"
        house.gate.awake[TWO].set()
        assert await build == b"the worker"
        assert await channel.unary_unary(INFO)(b"?", metadata=to_two) == b"the worker"
    assert house.gate.waited == 1


async def test_one_that_has_never_answered_is_woken(house, noticed, to_two, until):
    async with house.channel() as channel:
        call = channel.unary_unary(LIST)(b"?", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        assert noticed.holds == 1
        house.gate.awake[TWO].set()
        assert await call == b"the worker"


async def test_without_the_option_a_look_wakes(house_with, node, collector, shelf, to_two, until):
    await shelf.keep(TWO, 1, LIST, b"as it was")
    house = await house_with(own=node)
    house.gate.add("acme/two", collector.address, awake=False)
    async with house.channel() as channel:
        call = channel.unary_unary(LIST)(b"?", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        house.gate.awake[TWO].set()
        assert await call == b"the worker"


async def test_while_the_database_is_away_a_look_waits_as_others_do(house, shelf, to_two, until):
    await shelf.keep(TWO, 1, LIST, b"as it was")
    shelf.away = True
    async with house.channel() as channel:
        call = channel.unary_unary(LIST)(b"?", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        house.gate.awake[TWO].set()
        assert await call == b"the worker"


async def test_an_answer_is_shown_to_its_caller_alone(house, shelf, to_two):
    await shelf.keep(TWO, 1, LIST, b"as it was")
    house.directory.refused["wrong"] = BadToken()
    async with house.channel() as channel:
        for lie in (
            (("satellite", "acme/two"), ("authorization", "Bearer wrong")),
            (("x-torpor-satellite-id", str(TWO)),),
            (("x-torpor-satellite-id", str(TWO)), ("satellite", "acme/two")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(LIST)(b"?", metadata=lie, timeout=20)
            assert "TPR-1" in refused.value.details()
        # a call for the node's own services says nothing of satellites either
        told = (("x-torpor-satellite-id", str(TWO)), *to_two)
        assert await channel.unary_unary(LIST)(b"?", metadata=told, timeout=20) == b"as it was"


async def test_an_answer_that_is_gone_in_the_same_moment(house, shelf, answers, to_two, until):
    await shelf.keep(TWO, 1, LIST, b"as it was")
    real = answers.find
    finds = []

    async def first_alone(*look):
        finds.append(look)
        return await real(*look) if len(finds) == 1 else None

    answers.find = first_alone
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(LIST)(b"?", metadata=to_two, timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "TPR-1010" in refused.value.details()


@pytest.mark.parametrize("answer", [b"failed", b"x" * 70_000], ids=["an error", "too large"])
async def test_what_is_not_worth_keeping(house, shelf, collector, to_one, until, answer):
    collector.answer = answer
    async with house.channel() as channel:
        call = channel.unary_unary(LIST)(b"?", metadata=to_one)
        if answer == b"failed":
            assert await call.code() is grpc.StatusCode.INTERNAL
        else:
            assert await call == answer
        collector.answer = b"small"
        assert await channel.unary_unary(LIST)(b"?", metadata=to_one) == b"small"
        await until(lambda: shelf.kept)
    assert shelf.kept[ONE, LIST].octets == b"small"
    assert len(shelf.writes) == 1


async def test_an_answer_waits_for_a_tiny_window(house, shelf, raw, until):
    await shelf.keep(TWO, 1, LIST, b"x" * 300)
    client = await raw(to=house)
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.flush()
    await until(lambda: len(client.of(SettingsAcknowledged)) == 2)
    named = (("satellite", "acme/two"), ("authorization", "Bearer secret"))
    client.request(1, *named, path=LIST)
    client.message(1, b"?")
    for _ in range(4):
        await asyncio.sleep(0.01)
        client.h2.increment_flow_control_window(100, 1)
        client.flush()
    await until(lambda: client.of(StreamEnded, 1))
    assert len(b"".join(each.data for each in client.of(DataReceived, 1))) == 305


async def test_a_look_that_is_cancelled_leaves_nothing(house, collector, shelf, raw, until):
    collector.answers.clear()
    client = await raw(to=house)
    named = (("satellite", "acme/one"), ("authorization", "Bearer secret"))
    for stream in range(1, 21, 2):
        client.request(stream, *named, path=LIST, end=True)
        for _ in range(stream):
            await asyncio.sleep(0)
        client.h2.reset_stream(stream)
        client.flush()
    collector.answers.set()
    client.request(21, *named, path=LIST)
    client.message(21, b"?")
    await until(lambda: client.of(StreamEnded, 21) and shelf.kept)
    [connection] = house.door._connections
    assert not connection.pair.streams.watched
    assert not connection.pair.streams.states
