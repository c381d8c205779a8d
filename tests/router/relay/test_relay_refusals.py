"""What the router itself answers: each with its code, and without the worker seeing anything."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from h2.events import ConnectionTerminated, DataReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from torpor_provisioner.contract import Address
from torpor_router.errors import BadSatelliteName, NotGrpc, WorkerUnreachable

OK = grpc.StatusCode.OK
BEARER = ("authorization", "Bearer secret")
TOO_LARGE = tuple((f"k{n}", "v" * 8_000) for n in range(20))


@pytest.mark.parametrize(
    ("metadata", "code", "status"),
    [
        ((BEARER,), "TPR-1001", grpc.StatusCode.INVALID_ARGUMENT),
        ((BEARER, ("satellite", "acme")), "TPR-1002", grpc.StatusCode.INVALID_ARGUMENT),
        ((BEARER, ("satellite", "Acme/one")), "TPR-1002", grpc.StatusCode.INVALID_ARGUMENT),
        ((BEARER, ("satellite_name", "one")), "TPR-1002", grpc.StatusCode.INVALID_ARGUMENT),
        ((("satellite", "acme/one"),), "TPR-1003", grpc.StatusCode.UNAUTHENTICATED),
        (
            (("satellite", "acme/one"), ("authorization", "Basic eDp5")),
            "TPR-1003",
            grpc.StatusCode.UNAUTHENTICATED,
        ),
        (
            (("satellite", "acme/one"), BEARER, *TOO_LARGE),
            "TPR-3005",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ],
)
async def test_a_request_that_cannot_be_routed(house, worker, raw, metadata, code, status, until):
    client = await raw()
    client.h2.local_settings.max_header_list_size = 1 << 20
    client.request(1, *metadata)
    await until(lambda: client.of(StreamEnded, 1))
    answer = client.answer(1)
    assert answer["grpc-status"] == str(status.value[0])
    assert answer["x-torpor-code"] == code
    assert answer["grpc-message"].startswith(code)
    # the rest of the request is not wanted, and the connection serves on
    await until(lambda: client.of(StreamReset, 1))
    assert client.of(StreamReset, 1)[0].error_code == 0
    client.request(3, ("satellite", "acme/one"), BEARER)
    await until(lambda: worker.calls == ["/t.T/Unary"])


@pytest.mark.parametrize("room", [0, 65_535])
async def test_what_is_no_grpc_is_told_so_in_http(house, worker, raw, until, room):
    """With a body, if the stream's window has room for one."""
    client = await raw(start=False)
    client.h2.initiate_connection()
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: room})
    client.h2.send_headers(
        1,
        [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/index.html"),
            (":authority", "one--acme.door.test"),
            ("accept", "text/html"),
        ],
        end_stream=True,
    )
    client.flush()
    await until(lambda: client.of(StreamEnded, 1))
    answer = client.answer(1)
    assert answer[":status"] == "415"
    assert answer["x-torpor-code"] == "TPR-1007"
    assert "grpc-status" not in answer
    body = b"".join(each.data for each in client.of(DataReceived, 1))
    assert body == (f"{NotGrpc()}\n".encode() if room else b"")
    assert house.gate.entered == 0
    # the connection serves on
    client.request(3, ("satellite", "acme/one"), BEARER)
    await until(lambda: worker.calls == ["/t.T/Unary"])


async def test_the_directory_says_no(house, worker, to_one):
    house.directory.refused["secret"] = BadSatelliteName("as the directory says")
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t.T/Unary")(b"", metadata=to_one)
    assert failed.value.details() == str(BadSatelliteName("as the directory says"))
    assert worker.calls == []


async def test_a_revoked_token_stops_new_streams(house, worker, to_one):
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")
        for _ in range(3):
            await call(b"", metadata=to_one)
        house.directory.refused["secret"] = BadSatelliteName("revoked")
        async with asyncio.timeout(20):
            while (last := call(b"", metadata=to_one)) and await last.code() is OK:
                pass
        assert "revoked" in await last.details()


@pytest.mark.parametrize(
    "other",
    [
        (("satellite", "acme/two"), BEARER),
        (("satellite", "acme/one"), ("authorization", "Bearer other")),
    ],
)
async def test_a_connection_is_one_callers_and_one_satellites(
    house, worker, raw, to_one, until, other
):
    client = await raw()
    client.request(1, *to_one, path="/t.T/Hang")
    await until(lambda: house.door.relay.counts.streams)
    client.message(1, b"")
    await worker.started.wait()
    client.request(3, *other, end=True)
    await until(lambda: client.of(StreamEnded, 3))
    assert client.answer(3)["x-torpor-code"] == "TPR-1004"
    assert worker.calls == ["/t.T/Hang"]
    assert not client.of(StreamEnded, 1)


async def test_an_unbound_connection_may_ask_for_another_satellite(house, worker, to_one, to_two):
    house.directory.refused["wrong"] = BadSatelliteName("no")
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(b"", metadata=(("satellite", "acme/two"), ("authorization", "Bearer wrong")))
        assert await call(b"x", metadata=to_one) == b"x"


async def test_a_worker_that_does_not_answer(house_with, to_one, unused_port):
    house = await house_with(connect_timeout=0.3)
    house.gate.add("acme/one", Address("127.0.0.1", unused_port))
    async with house.channel() as channel:
        calls = [channel.unary_unary("/t.T/Unary")(b"", metadata=to_one) for _ in range(5)]
        for call in calls:
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert WorkerUnreachable.code in await call.details()
    assert not house.gate.inside.total()


async def test_a_worker_that_comes_up_late(house_with, worker, to_one, unused_port):
    house = await house_with()
    house.gate.add("acme/one", Address("127.0.0.1", unused_port))
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")(b"late", metadata=to_one)
        await asyncio.sleep(0.3)  # the door tries in vain meanwhile
        async with relayed(unused_port, worker.address):
            assert await call == b"late"


class relayed:  # noqa: N801 - reads as a statement
    """Passes octets from a port to a worker."""

    def __init__(self, port: int, to: Address) -> None:
        self.port, self.to = port, to

    async def __aenter__(self) -> relayed:
        self.server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(*self.to)
        await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    finally:
        writer.close()


async def test_a_worker_that_speaks_something_else(house_with, to_one, until):
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    house = await house_with(connect_timeout=0.3)
    house.gate.add("acme/one", Address("127.0.0.1", server.sockets[0].getsockname()[1]))
    async with house.channel() as channel:
        call = channel.unary_unary("/t.T/Unary")(b"", metadata=to_one)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "TPR-4001" in await call.details()
    server.close()


async def test_a_worker_that_dies_under_open_streams(house, worker, to_one, until):
    async with house.channel() as channel:
        both = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await both.write(b"ab")
        assert await both.read() == b"ba"
        silent = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await silent.write(b"")
        await silent.read()
        for connection in house.door._connections:
            connection._worker.transport.abort()
        for call in (both, silent):
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert (await call.details()).startswith("TPR-4002")
        await until(lambda: not house.gate.inside.total())
        assert await channel.unary_unary("/t.T/Unary")(b"again", metadata=to_one) == b"again"


async def test_too_many_streams_on_a_connection(house_with, worker, raw, to_one, until):
    house = await house_with(streams_per_connection=2)
    house.gate.add("acme/one", worker.address)
    client = await raw(to=house)
    for stream in (1, 3, 5):
        client.request(stream, *to_one, path="/t.T/Both")
    await until(lambda: client.of(StreamReset, 5))
    assert client.of(StreamReset, 5)[0].error_code == 7  # REFUSED_STREAM: safe to retry
    await until(lambda: len(worker.calls) == 2)


async def test_too_many_connections_of_a_caller(house_with, worker, to_one):
    house = await house_with(connections_per_caller=1)
    house.gate.add("acme/one", worker.address)
    async with house.channel() as first, house.channel() as second:
        await first.unary_unary("/t.T/Unary")(b"", metadata=to_one)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await second.unary_unary("/t.T/Unary")(b"", metadata=to_one)
    assert "TPR-3003" in failed.value.details()
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /t.T/U HTTP/1.0\r\n\r\n"]
)
async def test_http_1_gets_an_answer_it_can_read(house, request_line):
    reader, writer = await asyncio.open_connection(*house.address)
    for octet in request_line:
        writer.write(bytes((octet,)))
    answer = await asyncio.wait_for(reader.read(), 20)
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"TPR-1005" in answer
    writer.close()


async def test_noise_is_turned_away(house, until):
    reader, writer = await asyncio.open_connection(*house.address)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # TLS on a plaintext port
    await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await until(lambda: not house.door.relay.counts.connections)


async def test_drain_sends_clients_away(house, worker, raw, to_one, to_two, until):
    async with house.channel() as channel:
        both = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await both.write(b"ab")
        assert await both.read() == b"ba"
        waiting = await raw()
        waiting.request(1, *to_two)
        await until(lambda: house.gate.waiting == 1)
        draining = asyncio.create_task(house.door.drain(20))
        await until(lambda: waiting.of(ConnectionTerminated))
        assert waiting.of(ConnectionTerminated)[0].last_stream_id == 0  # safe to retry
        assert not draining.done()
        await both.write(b"cd")
        assert await both.read() == b"dc"
        await both.done_writing()
        assert await both.code() is grpc.StatusCode.OK
        await asyncio.wait_for(draining, 20)
    with pytest.raises(OSError):
        await asyncio.open_connection(*house.address)


async def test_drain_has_a_limit(house, worker, to_one, until):
    async with house.channel() as channel:
        both = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await both.write(b"ab")
        assert await both.read() == b"ba"
        await asyncio.wait_for(house.door.drain(0.1), 20)
        assert await both.code() is grpc.StatusCode.UNAVAILABLE
        assert (await both.details()).startswith("TPR-5001")
    await until(lambda: not house.gate.inside.total())


async def test_an_empty_token_is_told_so(house, to_one):
    """What CI sends when a secret is not set: a client's reset would say nothing."""
    async with house.channel() as channel:
        metadata = (to_one[0], ("authorization", "Bearer "))
        call = channel.unary_unary("/t.T/Echo")(b"", metadata=metadata)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "TPR-1003" in await call.details()
