"""Many connections that show no credentials: bounded by address and in all, and nobody is kept out.

All addresses are told by PROXY v2 headers, as a load balancer tells them.
"""

from __future__ import annotations

import asyncio
import socket
from struct import pack

import pytest
from doorkit.authority import client_context
from doorkit.frames import GREETING, FrameClient, fields

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ErrorCode, Kind
from torpor_router.transport import proxy

HERE = "192.0.2.1"
SITE = "2001:db8:0:1::"  # a network of 64 bits


def told_by(address: str) -> bytes:
    """The header of a load balancer whose client has `address`."""
    if ":" in address:
        octets = socket.inet_pton(socket.AF_INET6, address) + bytes(16)
        return proxy.SIGNATURE + b"\x21\x21" + pack(">H", 36) + octets + pack(">HH", 5, 6)
    octets = socket.inet_pton(socket.AF_INET, address) + bytes(4)
    return proxy.SIGNATURE + b"\x21\x11" + pack(">H", 12) + octets + pack(">HH", 5, 6)


@pytest.fixture
async def few(house_with, worker, until):
    """A door that takes five strangers, three of them from one address."""
    house = await house_with(proxy_protocol=True, strangers=5, strangers_per_address=3, faults=5)
    house.gate.add("acme/one", worker.address)
    yield house
    await until(lambda: not house.door._connections)
    assert not house.door.strangers._by_host
    assert not house.door.strangers._leaving


@pytest.fixture
async def come(few):
    clients = []

    async def from_(address: str = HERE) -> FrameClient:
        client = await FrameClient.connect(few.address, greet=False)
        clients.append(client)
        client.send(told_by(address), GREETING)
        return client

    yield from_
    for client in clients:
        await client.aclose()


async def calls(client: FrameClient, stream: int = 1) -> None:
    client.send(client.request(stream, end=True))
    assert (await client.response(stream))[b"grpc-status"] == b"0"


async def is_refused(client: FrameClient, code: bytes) -> None:
    assert await client.connection_error() == ErrorCode.ENHANCE_YOUR_CALM
    assert code in client.of(Kind.GOAWAY)[-1].payload
    assert client.frames[0].kind == Kind.SETTINGS, "RFC 9113 section 3.4"


async def test_one_address_has_so_many(few, come, until):
    known = await come()
    await calls(known)
    held = [await come() for _ in range(3)]
    for each in held:
        await each.alive()
    await is_refused(await come(), b"TPR-3016")
    await calls(known, 3)
    await calls(await come("192.0.2.2"))
    await held[0].aclose()
    await until(lambda: len(few.door.strangers) == 2)
    await calls(await come())  # there is a place again
    assert few.door.strangers.refused == {"TPR-3016": 1}


async def test_an_admitted_connection_frees_its_strangers_place(few, come):
    for _ in range(10):
        await calls(await come())
    assert not few.door.strangers.refused


async def test_a_refused_connection_stays_a_stranger(few, come):
    clients = [await come() for _ in range(3)]
    for client in clients:
        client.send(wire.headers(1, encode(fields()[:7]), end_stream=True))  # no token
        assert (await client.response(1))[b"x-torpor-code"] == b"TPR-1003"
    await is_refused(await come(), b"TPR-3016")


@pytest.mark.parametrize(
    ("addresses", "refused"),
    [
        ([f"{SITE}{n}" for n in range(1, 5)], 1),
        ([f"::ffff:{HERE}", HERE, HERE, HERE], 1),
        ([f"2001:db8:0:{n}::1" for n in range(1, 5)], 0),
    ],
    ids=["one network", "an IPv4 address in IPv6", "four networks"],
)
async def test_what_one_address_is(few, come, addresses, refused):
    clients = [await come(each) for each in addresses]
    if refused:
        await is_refused(clients[-1], b"TPR-3016")
    else:
        await clients[-1].alive()


async def test_the_oldest_gives_way(few, come):
    """A crowd from everywhere keeps nobody out."""
    crowd = [await come(f"198.51.100.{n}") for n in range(5)]
    for each in crowd:
        await each.alive()
    crowd[0].send(wire.headers(1, encode(fields(b"acme/one")[:7]), end_stream=True))
    await crowd[0].response(1)  # an answer makes it no younger
    caller = await come("203.0.113.1")
    await calls(caller)
    await crowd[0].end()
    assert b"TPR-3017" in crowd[0].of(Kind.GOAWAY)[-1].payload
    assert few.door.strangers.refused == {"TPR-3017": 1}
    for each in crowd[1:]:
        await each.alive()


async def test_a_request_that_waits_may_be_tried_again(few, come, until):
    """Who gives way with its first request still being decided on: the client retries by itself."""
    decided = asyncio.Event()

    async def route(ask, peer, token):
        await decided.wait()
        return few.directory._route(ask)

    few.directory.slow.add("secret")
    few.directory.route = route
    waits = await come()
    waits.send(waits.request(1, end=True))
    await waits.alive()
    for n in range(5):
        await (await come(f"198.51.100.{n}")).alive()
    await waits.end()
    goaway = waits.of(Kind.GOAWAY)[-1]
    assert wire.u32(goaway.payload, 0) == 0, "nothing was processed"
    assert wire.u32(goaway.payload, 4) == ErrorCode.NO_ERROR
    decided.set()


async def test_refused_ones_that_do_not_go(few, come, until):
    """They are refused in words while as many are on their way out; then without any."""
    clients = []
    for _ in range(12):
        clients.append(await come())
        clients[-1].writer.transport.pause_reading()
    await until(lambda: few.door.strangers.refused["TPR-3016"] == 9)
    for each in clients[3:]:
        each.writer.transport.resume_reading()
        await each.end()
    told = [bool(each.of(Kind.GOAWAY)) for each in clients[3:]]
    assert told == [True] * 3 + [False] * 6


async def test_certificates_are_credentials(house_with, worker, server_tls, authority):
    house = await house_with(tls=server_tls, strangers=1, strangers_per_address=1)
    house.gate.add("acme/one", worker.address)
    files = authority.issue(uris=("torpor://org/acme",))
    context = client_context(authority)
    context.load_cert_chain(files.certificate, files.key)
    opened = [await asyncio.open_connection(*house.address, ssl=context) for _ in range(3)]
    for reader, writer in opened:
        writer.write(GREETING)
        assert (await reader.readexactly(9))[3] == Kind.SETTINGS
    assert not len(house.door.strangers)
    for _, writer in opened:
        writer.close()
