"""A satellite that sleeps: requests wait, and end in exactly one way."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from h2.events import (
    ConnectionTerminated,
    PingAckReceived,
    RemoteSettingsChanged,
    StreamEnded,
    StreamReset,
)

from torpor_provisioner.errors import Capacity
from torpor_router.limits import Limits


async def test_held_then_released(house, worker, to_two, until):
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")(b"hello", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        assert worker.calls == []
        house.gate.awake[_two(house)].set()
        assert await call == b"hello"
        told = dict(await call.initial_metadata())
        assert told["x-torpor-satellite"] == "acme/two"
        assert told["x-torpor-wake"].startswith("kind=resumed; held=")
        again = channel.unary_unary("/t.T/Unary")(b"", metadata=to_two)
        await again
        assert "x-torpor-wake" not in dict(await again.initial_metadata())


def _two(house):
    return next(
        each for each, awake in house.gate.epochs.items() if not house.gate.awake[each].is_set()
    )


async def test_many_streams_on_one_connection(house, worker, to_two, until):
    async with house.channel() as channel:
        calls = [channel.unary_unary("/t.T/Unary")(b"%d" % n, metadata=to_two) for n in range(100)]
        await until(lambda: house.gate.waiting == 100)
        house.gate.awake[_two(house)].set()
        assert await asyncio.gather(*calls) == [b"%d" % n for n in range(100)]
    await until(lambda: not house.gate.inside.total())
    assert len(worker.calls) == 100
    assert house.door.relay.holds.total == 0


async def test_a_large_upload_waits_behind_a_closed_window(house, worker, to_two, until):
    message = b"m" * (8 << 20)
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")(message, metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        house.gate.awake[_two(house)].set()
        assert await call == message


async def test_the_deadline_is_shortened_by_the_time_held(house, worker, raw, to_two, until):
    client = await raw()
    client.request(1, *to_two, ("grpc-timeout", "1000S"))
    client.message(1, b"")
    await until(lambda: house.gate.waiting == 1)
    await asyncio.sleep(0.5)  # the time held, not a wait for something to happen
    house.gate.awake[_two(house)].set()
    await until(lambda: client.of(StreamEnded, 1))
    assert worker.time_remaining[0] <= 999.5


async def test_a_deadline_that_passes_while_held(house, worker, raw, to_two, until):
    client = await raw()
    client.request(1, *to_two, ("grpc-timeout", "200m"), end=True)
    await until(lambda: client.of(StreamEnded, 1))
    answer = client.answer(1)
    assert answer["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    assert answer["x-torpor-code"] == "TPR-3007"
    assert house.gate.waiting == 0
    assert worker.calls == []


async def test_a_cancel_while_held_never_reaches_the_worker(house, worker, raw, to_two, until):
    client = await raw()
    client.request(1, *to_two)
    client.request(3, *to_two)
    await until(lambda: house.gate.waiting == 2)
    client.h2.reset_stream(1)
    client.flush()
    await until(lambda: house.gate.waiting == 1)
    house.gate.awake[_two(house)].set()
    await until(lambda: house.door.relay.counts.streams == 1)
    client.message(3, b"")
    await until(lambda: client.of(StreamEnded, 3))
    assert client.answer(3)["grpc-status"] == "0"
    assert len(worker.calls) == 1
    await until(lambda: not house.gate.inside.total())


async def test_a_disconnect_while_held(house, worker, raw, to_two, until):
    client = await raw()
    client.request(1, *to_two)
    await until(lambda: house.gate.waiting == 1)
    client.writer.transport.abort()
    await until(lambda: house.gate.waiting == 0)
    assert house.door.relay.holds.total == 0
    assert worker.calls == []


async def test_a_wake_that_fails_is_told_with_its_code(house, worker, to_two, until):
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")(b"", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        two = _two(house)
        house.gate.failures[two] = Capacity("m7i.large")
        house.gate.awake[two].set()
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert failed.value.details() == str(Capacity("m7i.large"))
        del house.gate.failures[two]
        assert await channel.unary_unary("/t.T/Unary")(b"later", metadata=to_two) == b"later"


async def test_pings_and_settings_are_answered_while_held(house, raw, to_two, until):
    client = await raw()
    client.request(1, *to_two)
    await until(lambda: house.gate.waiting == 1)
    client.h2.ping(b"12345678")
    client.h2.update_settings({4: 100_000})
    client.flush()
    await until(lambda: client.of(PingAckReceived))
    assert client.h2.remote_settings.initial_window_size == 0
    assert client.h2.remote_settings.header_table_size == 0
    house.gate.awake[_two(house)].set()
    await until(lambda: client.h2.remote_settings.initial_window_size)
    assert client.of(RemoteSettingsChanged)


async def test_the_hold_budget(house_with, worker, to_two):
    house = await house_with(hold_budget=0.2)
    house.gate.add("acme/two", worker.address, awake=False)
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t.T/Unary")(b"", metadata=to_two)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("limit", "most", "code"),
    [("held_per_satellite", 2, "TPR-3001"), ("held_per_node", 4, "TPR-3012")],
)
async def test_no_more_than_so_many_wait(house_with, worker, to_two, until, limit, most, code):
    house = await house_with(**{limit: most})
    two = house.gate.add("acme/two", worker.address, awake=False)
    async with house.channel() as channel:
        calls = [channel.unary_unary("/t.T/Unary")(b"", metadata=to_two) for _ in range(3)]
        await until(lambda: house.gate.waiting == 2)
        await until(lambda: any(call.done() for call in calls))
        (refused,) = (call for call in calls if call.done())
        assert code in await refused.details()
        house.gate.awake[two].set()
        for call in calls:
            assert await call.code() is grpc.StatusCode.OK or call is refused
    assert house.door.relay.holds.total == 0


async def test_one_org_cannot_hold_all_that_may_wait(house_with, worker, to_two, until):
    house = await house_with(held_per_node=3)
    house.gate.add("acme/two", worker.address, awake=False)
    house.gate.add("globex/two", worker.address, awake=False)
    theirs = (("satellite", "globex/two"), ("authorization", "Bearer theirs"))
    async with house.channel() as ours, house.channel() as others:
        calls = [ours.unary_unary("/t.T/Unary")(b"", metadata=to_two) for _ in range(2)]
        await until(lambda: house.gate.waiting == 2)
        assert "TPR-3012" in await ours.unary_unary("/t.T/Unary")(b"", metadata=to_two).details()
        calls.append(others.unary_unary("/t.T/Unary")(b"", metadata=theirs))
        await until(lambda: house.gate.waiting == 3)
        assert "TPR-3002" in await others.unary_unary("/t.T/Unary")(b"", metadata=theirs).details()
        for awake in house.gate.awake.values():
            awake.set()
        await asyncio.gather(*calls)
    assert house.door.relay.holds.total == 0


async def test_data_over_the_default_window_ends_the_connection(house, raw, to_two, until):
    client = await raw()
    client.request(1, *to_two)
    await until(lambda: house.gate.waiting == 1)
    frame = (16_384).to_bytes(3, "big") + b"\x00\x00" + (1).to_bytes(4, "big") + bytes(16_384)
    client.writer.write(frame * 5)
    await until(lambda: client.of(ConnectionTerminated))
    assert client.of(ConnectionTerminated)[0].error_code == 3
    await until(lambda: house.gate.waiting == 0)


async def test_sleep_under_an_idle_connection(house, worker, to_one, until):
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")
        await call(b"", metadata=to_one)
        await until(lambda: not house.gate.inside.total())
        one = next(iter(house.gate.epochs))
        house.gate.sleep(one)
        await until(lambda: not house.door.relay.counts.connections)
        again = call(b"again", metadata=to_one)
        await until(lambda: house.gate.waiting == 1)
        house.gate.awake[one].set()
        assert await again == b"again"


async def test_sleep_never_cuts_a_live_stream(house, worker, to_one, until):
    async with house.channel() as channel:
        both = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await both.write(b"before")
        assert await both.read() == b"erofeb"
        house.gate.sleep(next(iter(house.gate.epochs)))
        for _ in range(10):
            await both.write(b"after")
            assert await both.read() == b"retfa"
        await both.done_writing()
        assert await both.code() is grpc.StatusCode.OK
        await until(lambda: not house.door.relay.counts.connections)


async def test_a_stream_under_a_newer_epoch_goes_to_a_new_connection(
    house, worker, raw, to_one, until
):
    client = await raw()
    client.request(1, *to_one, path="/t.T/Both")
    await until(lambda: house.door.relay.counts.streams)
    house.gate.epochs[next(iter(house.gate.epochs))] += 1
    client.request(3, *to_one)
    await until(lambda: client.of(ConnectionTerminated))
    assert client.of(ConnectionTerminated)[0].last_stream_id == 1
    assert len(worker.calls) == 1
    assert not client.of(StreamReset)


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="hold_budget"):
        Limits(hold_budget=0)
