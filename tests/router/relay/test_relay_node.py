"""The node's own services behind the same port."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from clientkit.untyped import untyped
from doorkit.authority import secure
from doorkit.fakes import satellite_id
from doorkit.frames import FrameClient, fields, message
from doorkit.serving import serving
from h2.events import DataReceived, StreamEnded
from h2.settings import SettingCodes
from waiting import until

from torpor_provisioner.contract import Address
from torpor_router.dialects import bazel
from torpor_router.dialects.bazel import SERVER_CAPABILITIES, Capabilities
from torpor_router.errors import BadSatelliteName
from torpor_router.h2 import wire

OK = grpc.StatusCode.OK
CAPABILITIES = bazel.CAPABILITIES.decode()


@pytest.fixture
async def own():
    """A second real server in the place of the node's own services; and its calls."""
    calls = []

    class Own(grpc.GenericRpcHandler):
        def service(self, details):
            calls.append((details.method, dict(details.invocation_metadata)))
            if "Watch" in details.method:
                return grpc.unary_stream_rpc_method_handler(self.watch)
            if details.method.startswith("/xds."):
                return None
            return grpc.unary_unary_rpc_method_handler(self.answer)

        async def answer(self, request, context):
            return b"the node"

        async def watch(self, request, context):
            yield b"serving"
            await asyncio.Event().wait()

    async with serving(Capabilities(), Own()) as address:
        yield address, calls


@pytest.fixture
async def both_houses(house_with, worker, own):
    """A door in front of both."""
    address, calls = own
    house = await house_with(own=address)
    house.gate.add("acme/one", worker.address)
    house.gate.add("acme/two", worker.address, awake=False)
    return house, calls


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
        await untyped(channel).unary_unary("/torpor.v1.Satellites/List")(b"", metadata=lie)
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


async def test_a_health_check_with_a_satellite_named_is_the_satellites(both_houses, worker, to_one):
    house, calls = both_houses
    async with house.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", metadata=to_one)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert worker.calls == ["/grpc.health.v1.Health/Check"]
    assert not calls


async def test_one_channel_for_the_node_and_a_satellite(both_houses, worker, to_one):
    """Neither disturbs the other: one connection, and no call fails."""
    house, calls = both_houses
    async with house.channel() as channel:

        async def ask(path, answer, **options):
            for _ in range(50):
                assert await channel.unary_unary(path)(b"x", **options) == answer

        await asyncio.gather(
            ask("/torpor.v1.S/L", b"the node"),
            ask("/grpc.health.v1.Health/Check", b"the node"),
            ask("/t.T/Unary", b"x", metadata=to_one),
            ask("/t.T/Unary", b"x", metadata=to_one),
        )
    assert len(calls) == 100
    assert len(worker.calls) == 100
    assert house.door.relay.counts.connections_opened == 1


@pytest.mark.parametrize("node_first", [True, False])
async def test_pings_for_the_nodes_answers_are_no_offence_to_the_worker(both_houses, node_first):
    """A grpc server ends a connection at the third PING in five minutes without an answer sent."""
    house, _ = both_houses
    client = await FrameClient.connect(house.address)
    node, satellite = (1, 3) if node_first else (3, 1)
    requests = {
        node: client.request(node, fields(b"", b"/grpc.health.v1.Health/Watch"), end=False)
        + wire.frame(wire.Kind.DATA, wire.END_STREAM, node, message(b"")),
        satellite: client.request(satellite, path=b"/t.T/Hang", end=False),
    }
    client.send(requests[1])
    await client.alive()
    client.send(requests[3])
    await client.first(wire.Kind.DATA, node)
    for _ in range(10):
        await client.alive()
    assert not client.of(wire.Kind.GOAWAY)
    await client.aclose()


def watch(client, stream):
    client.request(stream, path="/grpc.health.v1.Health/Watch")
    client.message(stream, b"")


LIBRARY_CALLS = [
    "/grpc.health.v1.Health/Watch",
    "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
]


@pytest.mark.parametrize("path", LIBRARY_CALLS)
@pytest.mark.parametrize("name", ["acme/one", "acme/two"])
async def test_calls_that_libraries_make_by_themselves_wake_and_hold_nothing(
    both_houses, worker, path, name, until
):
    """They come first on a connection, without metadata; the satellite's calls pass beside."""
    house, _ = both_houses
    async with house.channel() as channel:
        watching = channel.unary_stream(path)(b"")
        if "Watch" in path:
            assert await watching.read() == b"serving"
        else:
            assert await watching.code() is grpc.StatusCode.UNIMPLEMENTED
        assert house.gate.waited == house.gate.entered == 0
        metadata = (("satellite", name), ("authorization", "Bearer secret"))
        call = channel.unary_unary("/t.T/Unary")(b"x", metadata=metadata)
        if name == "acme/two":
            await until(lambda: house.gate.waiting == 1)
            house.gate.awake[satellite_id(name)].set()
        assert await call == b"x"
        assert house.gate.entered == 1
        assert house.door.relay.counts.connections_opened == 1
        assert watching.done() == ("Watch" not in path)
        watching.cancel()


async def test_a_watch_does_not_keep_a_connection_from_leaving(both_houses, worker, to_one, until):
    """It never ends by itself: once everything else is done, it is ended with a code."""
    house, _ = both_houses
    async with house.channel() as channel:
        watching = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert await watching.read() == b"serving"
        assert await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one) == b"x"
        house.gate.sleep(satellite_id("acme/one"))
        assert await watching.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(await watching.trailing_metadata())["x-torpor-code"] == "TPR-5004"
        await until(lambda: not house.door.relay.counts.connections)


async def test_an_answer_of_the_nodes_is_waited_for_when_the_connection_leaves(house_with, until):
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request, context):
        asked.set()
        await go_on.wait()
        return b"late"

    class Own(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(slow)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Own(),))
    house = await house_with(own=Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0")))
    await server.start()
    async with house.channel() as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        await asked.wait()
        (connection,) = house.door._connections
        connection.retire("leaving")
        go_on.set()
        assert await call == b"late"
        await until(lambda: not house.door.relay.counts.connections)
    await server.stop(None)


async def test_strangers_have_few_calls_of_the_nodes_at_a_time(both_houses, raw, until):
    house, _ = both_houses
    most = house.door.relay.limits.node_streams_of_strangers
    client = await raw(to=house)
    for number in range(most + 1):
        watch(client, 2 * number + 1)
    last = 2 * most + 1
    await until(lambda: client.of(StreamEnded, last))
    assert client.answer(last)["x-torpor-code"] == "TPR-3004"
    await until(lambda: len({each.stream_id for each in client.of(DataReceived)}) == most)
    # a service that needs a token has answered: this is no stranger
    client.h2.reset_stream(1)
    client.request(last + 2, path="/torpor.v1.S/L")
    client.message(last + 2, b"")
    await until(lambda: client.of(StreamEnded, last + 2))
    for number in range(2):
        watch(client, last + 4 + 2 * number)
    await until(lambda: client.of(DataReceived, last + 6))


async def test_strangers_are_sent_away_however_much_they_watch(both_houses, house_with, raw, until):
    house, _ = both_houses
    strict = await house_with(own=house.door._own, first_request_timeout=0.3)
    client = await raw(to=strict)
    watch(client, 1)
    await until(lambda: client.of(StreamEnded, 1))
    assert client.answer(1)["x-torpor-code"] == "TPR-3009"
    await until(lambda: not strict.door.relay.counts.connections)


async def test_the_node_is_not_read_while_the_client_takes_nothing(house_with, raw, until):
    """What it would send waits there and not here."""

    async def flood(request, context):
        for _ in range(2_000):
            yield bytes(10_000)

    class Own(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_stream_rpc_method_handler(flood)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Own(),))
    house = await house_with(own=Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0")))
    await server.start()
    client = await raw(to=house, start=False)
    client.h2.initiate_connection()
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
    client.request(1, path="/torpor.v1.S/L")
    client.message(1, b"")
    await until(lambda: sum(len(each.data) for each in client.of(DataReceived, 1)) > 60_000)
    (connection,) = house.door._connections
    await until(lambda: connection.pair.node.waiting > 64)
    waiting = connection.pair.window.waiting
    client.h2.increment_flow_control_window(30_000_000)
    client.flush()
    await until(lambda: client.of(StreamEnded, 1))
    assert waiting < 200
    assert sum(len(each.data) for each in client.of(DataReceived, 1)) == 2_000 * 10_005
    await server.stop(None)


async def test_the_nodes_services_are_away(house_with, raw, until):
    house = await house_with(connect_timeout=0.2)
    client = await raw(to=house)
    client.request(1, path="/torpor.v1.S/L", end=True)
    await until(lambda: client.of(StreamEnded, 1))
    assert client.answer(1)["x-torpor-code"] == "TPR-5003"


async def test_bazels_first_question(both_houses, worker, to_one):
    """Answered without a satellite; the channel then serves one."""
    house, _ = both_houses
    async with house.channel() as channel:
        for _ in range(2):
            assert await channel.unary_unary(CAPABILITIES)(b"") == SERVER_CAPABILITIES
        assert await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one) == b"x"
        assert worker.calls == ["/t.T/Unary"]
        # now that the connection is a satellite's, it is the worker's to answer
        for metadata in ((), (("satellite", "acme/one"),)):
            call = channel.unary_unary(CAPABILITIES)(b"", metadata=metadata)
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
            assert worker.calls[-1] == CAPABILITIES
            assert "satellite" not in worker.metadata[-1]
        # but not where another satellite is named
        other = (("satellite", "acme/two"),)
        assert await channel.unary_unary(CAPABILITIES)(b"", metadata=other) == SERVER_CAPABILITIES
    assert len(worker.calls) == 3
    assert house.door.relay.counts.connections_opened == 1


async def test_a_token_with_bazels_first_question_never_reaches_the_worker(
    both_houses, worker, to_one
):
    """It names no satellite, so it is one more of the connection's; its token is looked at."""
    house, _ = both_houses
    house.directory.refused["unknown"] = BadSatelliteName("nobody's")
    async with house.channel() as channel:
        await channel.unary_unary("/t.T/Unary")(b"x", metadata=to_one)
        mine = (("authorization", "Bearer secret"),)
        await channel.unary_unary(CAPABILITIES)(b"", metadata=mine).code()
        assert worker.calls[-1] == CAPABILITIES
        assert "authorization" not in worker.metadata[-1]
        for others, code in (("unknown", "TPR-1002"), ("other", "TPR-1004")):
            metadata = (("authorization", f"Bearer {others}"),)
            call = channel.unary_unary(CAPABILITIES)(b"", metadata=metadata)
            assert code in await call.details()
    assert len(worker.calls) == 2


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


@asynccontextmanager
async def scripted_node():
    """A node's services that send what the test says; they take no SETTINGS."""
    peers: asyncio.Queue[FrameClient] = asyncio.Queue()

    async def greeted(reader, writer):
        await reader.readexactly(len(wire.PREFACE))
        peers.put_nowait(FrameClient(reader, writer))

    server = await asyncio.start_server(greeted, "127.0.0.1", 0)
    async with server:
        yield Address(*server.sockets[0].getsockname()[:2]), peers


def shrinks(client, window):
    client.send(wire.settings([(wire.Setting.INITIAL_WINDOW_SIZE, window)]))


async def test_a_window_that_the_client_made_smaller_counts_from_its_acknowledgement(house_with):
    """RFC 9113 section 6.9.2: the node may send by the old one until it has the new one, and the
    client is told before that."""
    async with scripted_node() as (address, peers):
        house = await house_with(own=address)
        client = await FrameClient.connect(house.address)
        for stream in (1, 3):
            path = b"/grpc.health.v1.Health/Watch"
            client.send(client.request(stream, fields(b"", path), end=True))
        node = await peers.get()
        node.send(wire.settings([]))
        await node.first(wire.Kind.HEADERS, 3)
        for stream in (1, 3):
            node.send(wire.headers(stream, node.block([(b":status", b"200")]), end_stream=False))
            node.send(wire.frame(wire.Kind.DATA, 0, stream, b"a" * 60))
        await client.first(wire.Kind.DATA, 3)
        shrinks(client, 100)
        await client.alive()
        assert len([f for f in client.of(wire.Kind.SETTINGS) if f.flags & wire.ACK]) == 2
        for stream in (1, 3):
            node.send(wire.frame(wire.Kind.DATA, 0, stream, b"b" * 100))
            trailers = node.block([(b"grpc-status", b"0")])
            node.send(wire.headers(stream, trailers, end_stream=True))

        def came(stream):
            return sum(len(each.payload) for each in client.of(wire.Kind.DATA, stream))

        await until(lambda: (came(1), came(3)) == (100, 100))
        await client.alive()
        assert (came(1), came(3)) == (100, 100)
        client.send(wire.window_update(1, 59))
        await until(lambda: came(1) == 159)
        client.send(wire.window_update(1, 1))
        assert await client.response(1) == {b":status": b"200", b"grpc-status": b"0"}
        shrinks(client, 65_535)
        await client.ended(3)
        assert (came(1), came(3)) == (160, 160)
        await client.aclose()
        await node.aclose()


async def test_what_waits_for_the_connections_window_obeys_a_smaller_one_too(house_with):
    async with scripted_node() as (address, peers):
        house = await house_with(own=address)
        client = await FrameClient.connect(house.address)
        client.send(client.request(1, fields(b"", b"/grpc.health.v1.Health/Watch"), end=True))
        node = await peers.get()
        node.send(wire.settings([]))
        await node.first(wire.Kind.HEADERS, 1)
        node.send(wire.headers(1, node.block([(b":status", b"200")]), end_stream=False))
        client.send(wire.window_update(1, 1_000))
        for _ in range(5):
            node.send(wire.frame(wire.Kind.DATA, 0, 1, b"a" * 13_107))  # 65,535 in all
        node.send(wire.frame(wire.Kind.DATA, wire.END_STREAM, 1, b"b" * 1_000))

        def came():
            return sum(len(each.payload) for each in client.of(wire.Kind.DATA, 1))

        await until(lambda: came() == 65_535)
        shrinks(client, 65_000)
        await client.alive()
        client.send(wire.window_update(0, 65_535))
        await until(lambda: came() == 66_000)
        await client.alive()
        assert came() == 66_000
        client.send(wire.window_update(1, 535))
        await client.ended(1)
        assert came() == 66_535
        await client.aclose()
        await node.aclose()
