"""A listener with TLS: who comes without it, or without HTTP/2, and how it says goodbye."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

import grpc
import pytest
from clientkit.untyped import untyped
from doorkit.authority import client_context
from doorkit.core import frames
from doorkit.frames import GREETING, FrameClient, message

from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, Kind
from torpor_router.transport import proxy

LOCAL = proxy.SIGNATURE + b"\x20\x00\x00\x00"
HTTP_1 = b"GET / HTTP/1.1\r\n\r\n"
HELLO = wire.PREFACE + wire.settings(())


async def said(address, octets: bytes, **how) -> bytes:
    """All that is answered, until the end of the connection."""
    reader, writer = await asyncio.open_connection(*address, **how)
    writer.write(octets)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


@pytest.mark.parametrize("behind_proxy", [False, True])
async def test_plain_http_gets_an_answer_it_can_read(house_with, server_tls, behind_proxy):
    house = await house_with(tls=server_tls, proxy_protocol=behind_proxy)
    for request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HELLO):
        answer = await said(house.address, LOCAL * behind_proxy + request)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"TPR-1008" in answer
    assert not house.door.relay.counts.connections_opened


async def test_a_grpc_client_without_tls_fails_at_once(tls_house, to_one):
    async with grpc.aio.insecure_channel(tls_house.target) as channel:
        call = untyped(channel).unary_unary("/t.T/Unary")(b"", metadata=to_one)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "http1.x" in await call.details()


@pytest.mark.parametrize("octets", [b"\x00\x01\x02", b"hello?\r\n", b"A" * 9_000])
async def test_noise_is_hung_up_on(tls_house, octets):
    assert await said(tls_house.address, octets) == b""


async def test_a_connection_without_a_first_octet_is_ended(house_with, server_tls):
    house = await house_with(tls=server_tls, preface_timeout=0.1)
    for octets in (b"", b"GET / HT"):
        assert await said(house.address, octets) == b""


async def test_a_load_balancer_may_look_whether_somebody_listens(tls_house, authority, caplog):
    """It connects and hangs up, every few seconds: that is not worth a line."""
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            _, writer = await asyncio.open_connection(*tls_house.address)
            writer.write_eof()
            writer.close()
        answer = await said(tls_house.address, HTTP_1, ssl=without_alpn(authority))
    assert answer  # the others were seen before it
    assert not [record for record in caplog.records if "not taken" in record.message]


def without_alpn(authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.path))


async def test_tls_that_did_not_agree_on_http_2(tls_house, authority):
    answer = await said(tls_house.address, HTTP_1, ssl=without_alpn(authority))
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"TPR-1005" in answer
    assert b"ALPN" in answer
    assert b"Upgrade:" not in answer  # there is no h2c over TLS


async def test_a_client_that_offers_no_alpn_and_speaks_http_2_is_taken(tls_house, authority):
    """docker buildx's remote driver gives crypto/tls no NextProtos."""
    client = FrameClient(
        *await asyncio.open_connection(*tls_house.address, ssl=without_alpn(authority))
    )
    octets = wire.frame(Kind.DATA, END_STREAM, 1, message(b"x"))
    client.send(GREETING, client.request(1, path=b"/t.T/Unary", end=False), octets)
    assert (await client.response(1))[b"grpc-status"] == b"0"
    await client.aclose()


@pytest.mark.parametrize("context", [client_context, without_alpn])
async def test_the_end_is_said_at_once(house_with, server_tls, authority, context):
    """By close_notify, and not after the linger, which here is an hour."""
    house = await house_with(tls=server_tls, linger=3_600.0)
    with socket.create_connection(house.address) as sock:
        wrapped = await asyncio.to_thread(
            context(authority).wrap_socket, sock, server_hostname="127.0.0.1"
        )
        wrapped.suppress_ragged_eofs = False  # an end without close_notify is an error
        wrapped.settimeout(20)
        bad_ping = b"\x00\x00\x01\x06\x00\x00\x00\x00\x00x"
        wrapped.sendall(HELLO + wire.SETTINGS_ACK + bad_ping)
        answer = await asyncio.to_thread(_until_the_end, wrapped)
        assert answer
        wrapped.close()


def _until_the_end(sock: ssl.SSLSocket) -> bytes:
    answer = b""
    while more := sock.recv(65_536):
        answer += more
    return answer


async def test_an_answer_of_many_packets_comes_before_the_end(tls_house, authority, to_one):
    """What was written before is not lost by the end of TLS."""
    context = client_context(authority)
    reader, writer = await asyncio.open_connection(*tls_house.address, ssl=context)
    pings = 5_000
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
    writer.write(
        HELLO + wire.SETTINGS_ACK + ping * pings + b"\x00\x00\x01\x06\x00\x00\x00\x00\x00x"
    )
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    told = frames(answer)
    assert sum(kind == wire.Kind.PING for kind, *_ in told) == pings
    assert told[-1][0] == wire.Kind.GOAWAY
