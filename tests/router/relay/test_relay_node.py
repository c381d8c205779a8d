"""The node's own services behind the same port."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from doorkit.authority import secure
from h2.events import ConnectionTerminated, DataReceived, StreamEnded

from torpor_provisioner.contract import Address
from torpor_router.errors import BadSatelliteName
from torpor_router.h2 import wire

OK = grpc.StatusCode.OK
CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"


@pytest.fixture
async def own():
    """A second real server in the place of the node's own services; and its calls."""
    calls = []

    class Own(grpc.GenericRpcHandler):
        def service(self, details):
            calls.append((details.method, dict(details.invocation_metadata)))
            return grpc.unary_unary_rpc_method_handler(self.answer)

        async def answer(self, request, context):
            return b"the node"

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Own(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Address("127.0.0.1", port), calls
    await server.stop(None)


@pytest.fixture
async def both_houses(house_with, worker, own):
    """A door in front of both."""
    address, calls = own
    house = await house_with(own=address)
    house.gate.add("acme/one", worker.address)
    return house, calls


async def test_the_node_is_told_whose_call_it_is_by_the_door_alone(both_houses):
    house, calls = both_houses
    lies = (("x-torpor-peer", "192.0.2.1:1"), ("x-torpor-certificate-org", "globex"))
    async with house.channel() as channel:
        for _ in range(2):  # read, and then known
            await channel.unary_unary("/torpor.v1.Satellites/List")(b"", metadata=lies)
    for _, seen in calls:
        assert seen["x-torpor-peer"].startswith("127.0.0.1:")
        assert "x-torpor-certificate-org" not in seen


async def test_the_node_is_told_the_certificates_org(house_with, own, server_tls, authority):
    address, calls = own
    house = await house_with(own=address, tls=server_tls)
    mine = authority.issue(uris=("torpor://org/acme",))
    async with secure(house, authority, mine) as channel:
        lie = (("x-torpor-certificate-org", "globex"),)
        await channel.unary_unary("/torpor.v1.Satellites/List")(b"", metadata=lie)
    [(_, seen)] = calls
    assert seen["x-torpor-certificate-org"] == "acme"


async def test_too_much_metadata_for_the_node_is_refused_with_a_code(both_houses):
    house, calls = both_houses
    async with house.channel() as channel:
        call = channel.unary_unary("/torpor.v1.Satellites/List")
        refused = call(b"", metadata=(("x-much", "x" * 17_000),))
        assert "TPR-3005" in await refused.details()
        assert await call(b"", metadata=(("x-much", "x" * 7_000),)) == b"the node"
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "value"), [(":method", "GET"), ("content-type", "application/grpc+json")]
)
async def test_the_node_takes_plain_calls_of_grpc_alone(both_houses, raw, until, name, value):
    house, calls = both_houses
    client = await raw(to=house)
    fields = [
        (":method", value if name == ":method" else "POST"),
        (":scheme", "http"),
        (":path", "/torpor.v1.Satellites/List"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        *([(name, value)] if name != ":method" else []),
    ]
    client.h2.send_headers(1, fields, end_stream=True)
    client.flush()
    await until(lambda: client.of(StreamEnded, 1))
    assert client.answer(1)["x-torpor-code"] == "TPR-1006"
    assert not calls


@pytest.mark.parametrize(
    "path",
    [
        "/torpor.v1.Satellites/List",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/X",
    ],
)
async def test_the_node_answers_with_metadata_untouched(both_houses, worker, path):
    house, calls = both_houses
    async with house.channel() as channel:
        metadata = (("authorization", "Bearer mine"), ("satellite_token", "t"))
        for _ in range(3):
            assert await channel.unary_unary(path)(b"", metadata=metadata) == b"the node"
    for method, seen in calls:
        assert method == path
        assert seen["authorization"] == "Bearer mine"
        assert seen["satellite_token"] == "t"
    assert not worker.calls
    assert house.gate.entered == 0


async def test_a_health_check_with_a_satellite_named_is_the_satellites(both_houses, worker, to_one):
    house, calls = both_houses
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", metadata=to_one)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert worker.calls == ["/grpc.health.v1.Health/Check"]
    assert not calls


async def test_one_channel_for_the_node_and_a_satellite(both_houses, worker, to_one):
    """The router sends the connection away, and the client retries by itself."""
    house, calls = both_houses
    async with house.channel() as channel:
        for _ in range(3):
            assert await channel.unary_unary("/torpor.v1.S/L")(b"") == b"the node"
            assert await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one) == b"x"
    assert len(calls) == 3
    assert len(worker.calls) == 3


async def test_the_other_stream_is_marked_unprocessed(both_houses, worker, raw, to_one, until):
    house, _ = both_houses
    client = await raw(to=house)
    client.request(1, path="/torpor.v1.S/L")
    await until(lambda: house.door.relay.counts.streams)
    client.request(3, *to_one)
    await until(lambda: client.of(ConnectionTerminated))
    assert client.of(ConnectionTerminated)[0].last_stream_id == 1
    assert not worker.calls


async def test_the_nodes_services_are_away(house_with, raw, until):
    house = await house_with(connect_timeout=0.2)
    client = await raw(to=house)
    client.request(1, path="/torpor.v1.S/L", end=True)
    await until(lambda: client.of(StreamEnded, 1))
    assert client.answer(1)["x-torpor-code"] == "TPR-5003"


async def test_bazels_first_question(house_with, worker, to_one):
    """Answered without a satellite; the channel then serves one."""
    path = CAPABILITIES
    house = await house_with()
    house.gate.add("acme/one", worker.address)
    async with house.channel() as channel:
        for _ in range(2):
            told = await channel.unary_unary(path)(b"")
            assert told == bytes.fromhex("0a070a01011202080112040801100122020802" + "2a020802")
        assert await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one) == b"x"
    assert worker.calls == ["/t.T/Unary"]


async def test_bazels_first_question_leaves_the_window_exact(
    house_with, worker, raw, to_one, until
):
    """The worker may send no more than what our own answer has left of the client's window."""
    house = await house_with()
    house.gate.add("acme/one", worker.address)
    client = await raw(to=house, start=False)
    client.h2.initiate_connection()
    client.h2.increment_flow_control_window(1_000_000)
    client.flush()
    client.request(1, path=CAPABILITIES, end=True)
    await until(lambda: client.of(StreamEnded, 1))
    assert client.of(DataReceived, 1)[0].data.endswith(b"\x2a\x02\x08\x02")
    client.request(3, *to_one)
    client.message(3, b"")
    await until(lambda: client.of(StreamEnded, 3))
    (connection,) = house.door._connections
    sent = len(client.of(DataReceived, 1)[0].data)
    assert connection.pair.flow.opened() == wire.window_update(0, 1_000_000 - sent)
    # now that the connection is a satellite's, it is the worker's to answer
    client.request(5, path=CAPABILITIES, end=True)
    await until(lambda: client.of(StreamEnded, 5))
    assert worker.calls == ["/t.T/Unary", CAPABILITIES]
    client.request(7, ("satellite", "acme/one"), path=CAPABILITIES, end=True)
    await until(lambda: client.of(StreamEnded, 7))
    assert worker.calls == ["/t.T/Unary", CAPABILITIES, CAPABILITIES]
    assert "satellite" not in worker.metadata[-1]
    # but not where another satellite is named
    client.request(9, ("satellite", "acme/two"), path=CAPABILITIES, end=True)
    await until(lambda: client.of(StreamEnded, 9))
    assert client.of(DataReceived, 9)[0].data.endswith(b"\x2a\x02\x08\x02")
    assert len(worker.calls) == 3


async def test_bazels_first_question_on_a_default_window(house, worker, raw, until):
    """There is nothing to take our answer from: the connection serves nothing else."""
    client = await raw()
    client.request(1, path=CAPABILITIES, end=True)
    await until(lambda: client.of(StreamEnded, 1))
    assert client.of(DataReceived, 1)
    await until(lambda: client.of(ConnectionTerminated))
    assert client.of(ConnectionTerminated)[0].error_code == 0
    assert client.of(ConnectionTerminated)[0].last_stream_id == 1


async def test_bazels_uploads_belong_to_whom_the_connection_belongs(house, worker, to_one):
    path = "/google.bytestream.ByteStream/Unary"
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(path)(b"nobody's")
        assert "TPR-1001" in failed.value.details()
        await channel.unary_unary("/t.T/Unary")(b"", metadata=to_one)
        for _ in range(3):
            assert await channel.unary_unary(path)(b"x") == b"x"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/t.T/Unary")(b"other calls say who they are")
        assert "TPR-1001" in failed.value.details()
        house.directory.refused["secret"] = BadSatelliteName("revoked")
        async with asyncio.timeout(20):
            while (last := channel.unary_unary(path)(b"")) and await last.code() is OK:
                pass
        assert "revoked" in await last.details()
