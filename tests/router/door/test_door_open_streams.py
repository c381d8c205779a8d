"""Whose streams are open on a satellite: what the door says when it is looked at."""

from __future__ import annotations

from collections import Counter

from doorkit.fakes import satellite_id

ONE = satellite_id("acme/one")


async def test_streams_are_told_by_caller_method_and_address(house, worker, to_one, until):
    assert house.door.streams_on(ONE) == ()
    async with house.channel() as channel, house.channel() as other:
        calls = [channel.stream_stream("/t.T/Both")(metadata=to_one) for _ in range(2)]
        calls.append(other.unary_unary("/t.T/Hang")(b"", metadata=to_one))
        for call in calls[:2]:
            await call.write(b"ab")
            assert await call.read() == b"ba"
        await worker.started.wait()
        found = house.door.streams_on(ONE)
        assert Counter({each.method: each.number for each in found}) == {
            "/t.T/Both": 2,
            "/t.T/Hang": 1,
        }
        assert {each.peer for each in found} == {"127.0.0.1"}
        assert all(each.caller for each in found)
        assert house.door.streams_on(ONE) == found  # the same streams are as old as before
        for call in calls:
            call.cancel()
        await until(lambda: not house.door.streams_on(ONE))
        await house.door.aclose()
    assert not house.door._open_streams._seen


async def test_streams_on_the_fast_path_are_told_with_their_methods(house, worker, to_one):
    async with house.channel() as channel:
        assert await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one) == b"x"
        calls = []
        for _ in range(3):  # the decision stands by now: these are not read whole
            call = channel.stream_stream("/t.T/Both")(metadata=to_one)
            await call.write(b"ab")
            assert await call.read() == b"ba"
            calls.append(call)
        [found] = house.door.streams_on(ONE)
        assert (found.method, found.number) == ("/t.T/Both", 3)
        for call in calls:
            call.cancel()


async def test_a_held_stream_keeps_nothing_awake(house, worker, to_two, until):
    async with house.channel() as channel:
        waiting = channel.unary_unary("/t.T/Unary")(b"x", metadata=to_two)
        await until(lambda: house.door.relay.holds.total == 1)
        assert house.door.streams_on(satellite_id("acme/two")) == ()
        waiting.cancel()
