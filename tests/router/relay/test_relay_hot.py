"""A satellite that is awake: what works directly works through the door."""

from __future__ import annotations

import asyncio
import os

import grpc
import pytest
from clientkit.untyped import untyped


async def test_every_stream_shape(house, worker, to_one):
    async with house.channel() as channel:
        assert await channel.unary_unary("/t.T/Unary")(b"hello", metadata=to_one) == b"hello"
        down = channel.unary_stream("/t.T/Down")(b"100", metadata=to_one)
        assert [each async for each in down] == [b"%d" % n for n in range(100)]
        up = channel.stream_unary("/t.T/Up")([b"a", b"b", b"c"], metadata=to_one)
        assert await up == b"abc"
        both = channel.stream_stream("/t.T/Both")(metadata=to_one)
        for each in (b"ping", b"pong"):
            await both.write(each)
            assert await both.read() == each[::-1]
        await both.done_writing()
        assert await both.read() is grpc.aio.EOF
        assert await both.code() is grpc.StatusCode.OK
    assert house.gate.entered == 4


async def test_every_stream_is_counted_out(house, worker, to_one, until):
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")
        await asyncio.gather(*(call(b"%d" % n, metadata=to_one) for n in range(200)))
        await until(lambda: not house.gate.inside.total())
    assert house.gate.entered == 200
    assert house.door.relay.counts.streams == 0


async def test_only_what_the_door_consumed_is_stripped(house, worker, to_one):
    async with house.channel() as channel:
        metadata = (*to_one, ("x-mine", "kept"), ("x-mine-bin", b"\x00\xff"))
        await channel.unary_unary("/t.T/Unary")(b"", metadata=metadata)
        await channel.unary_unary("/t.T/Unary")(
            b"",
            metadata=(
                ("satellite_org", "acme"),
                ("satellite_name", "one"),
                ("satellite_token", "secret"),
                ("authorization", "Bearer for the worker"),
            ),
        )
    first, second = worker.metadata
    assert first["x-mine"] == "kept"
    assert first["x-mine-bin"] == b"\x00\xff"
    assert second["authorization"] == "Bearer for the worker"
    for seen in (first, second):
        assert not any(key.startswith("satellite") for key in seen)
    assert "authorization" not in first


async def test_status_message_and_trailers_pass(house, worker, to_one):
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t.T/Fail")(b"", metadata=to_one)
    assert failed.value.code() is grpc.StatusCode.DATA_LOSS
    assert failed.value.details() == "100% löst\n"
    trailers = dict(failed.value.trailing_metadata())
    assert trailers == {"why-bin": b"\x00\xff", "x-more": "1"}


@pytest.mark.parametrize("size", [5 << 20, 40 << 20])
async def test_large_messages(house, worker, to_one, size):
    message = os.urandom(1 << 16) * (size >> 16)
    async with house.channel() as channel:
        assert await channel.unary_unary("/t.T/Unary")(message, metadata=to_one) == message


async def test_large_metadata_both_ways(house, worker, to_one):
    large = [(f"echo-{n}", "v" * 4_000) for n in range(15)]
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Meta")(b"", metadata=(*to_one, *large))
        await call
        back = dict(await call.initial_metadata())
        assert [back[key] for key, _ in large] == [value for _, value in large]
        assert dict(await call.trailing_metadata()) == {"echo-trailer-bin": b"\x01\x02\x03"}


async def test_compression_passes(house, worker, to_one):
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")
        message = b"z" * 100_000
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert await call(message, metadata=to_one, compression=compression) == message


async def test_a_clients_cancel_reaches_the_worker(house, worker, to_one, until):
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Hang")(b"", metadata=to_one)
        await worker.started.wait()
        call.cancel()
        await worker.cancelled.wait()
        await until(lambda: not house.gate.inside.total())


async def test_a_clients_deadline_reaches_the_worker(house, worker, to_one):
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t.T/Hang")(b"", metadata=to_one, timeout=0.3)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(worker.cancelled.wait(), 20)


async def test_a_client_that_vanishes_is_counted_out(house, worker, raw, to_one, until):
    client = await raw()
    client.request(1, *to_one, path="/t.T/Hang")
    await until(lambda: house.door.relay.counts.streams)
    client.message(1, b"")
    await worker.started.wait()
    client.writer.transport.abort()
    await worker.cancelled.wait()
    await until(lambda: not house.gate.inside.total())
    await until(lambda: not house.door.relay.counts.connections)


async def test_unknown_method_is_the_workers_to_refuse(house, worker, to_one):
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t.T/None")(b"", metadata=to_one)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "TPR" not in failed.value.details()


async def test_a_synchronous_client(house, worker, to_one):
    def calls() -> None:
        with grpc.insecure_channel(house.target) as channel:
            assert (
                untyped(channel).unary_unary("/t.T/Unary")(b"x", metadata=to_one, timeout=20)
                == b"x"
            )
            both = untyped(channel).stream_stream("/t.T/Both")
            assert list(both(iter([b"ab", b"cd"]), metadata=to_one)) == [b"ba", b"dc"]

    await asyncio.to_thread(calls)
