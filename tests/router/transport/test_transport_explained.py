"""A client certificate that is not believed: the connection after the alert says why."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass

import grpc
import pytest
from clientkit.untyped import untyped
from cryptography.x509.oid import ExtendedKeyUsageOID
from doorkit.authority import Authority, client_context, secure
from waiting import until

from torpor_router.h2 import wire
from torpor_router.transport import explainer, explaining, failed_hosts
from torpor_router.transport.tls import ServerTls, TlsFiles

ORG = ("torpor://org/acme",)
ONE = (("satellite", "acme/one"),)
TOKEN = (*ONE, ("authorization", "Bearer secret"))
REQUEST = wire.headers(1, b"\x83\x86\x84", end_stream=True)  # POST https /
HELLO = wire.PREFACE + wire.settings(())


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(tls_house):
    made = tls_house.door._explainer._hosts._clock = Clock()
    return made


@pytest.fixture
def other(tmp_path):
    return Authority(tmp_path, "another")


@pytest.fixture
def bad(other):
    return other.issue(uris=ORG)


def call(channel, metadata=ONE):
    return untyped(channel).unary_unary("/t.T/Unary")(b"hello", metadata=metadata, timeout=20)


async def connected(house, authority, files, alpn=("h2",)):
    context = client_context(authority)
    context.set_alpn_protocols(list(alpn))
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return await asyncio.open_connection(*house.address, ssl=context)


async def fail(house, authority, files):
    """One handshake that ends with the alert."""
    before = house.door.disbelieved.total()
    reader, writer = await connected(house, authority, files)
    with pytest.raises(ssl.SSLError, match="alert"):
        await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await until(lambda: house.door.disbelieved.total() == before + 1)


async def refusal(house, authority, files):
    async with secure(house, authority, files) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel)
    await until(lambda: not house.door._explainer._at_once)
    return refused.value


@pytest.mark.parametrize(
    ("what", "words"), [("other CA", "it is of another CA"), ("wrong use", "it is not for clients")]
)
async def test_the_next_connection_is_told_why(tls_house, authority, other, what, words, caplog):
    use = ExtendedKeyUsageOID.SERVER_AUTH
    files = other.issue(uris=ORG)
    if what == "wrong use":
        files = authority.issue(uris=ORG, use=use)
    await fail(tls_house, authority, files)
    refused = await refusal(tls_house, authority, files)
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "TPR-1126" in refused.details()
    assert words in refused.details()
    assert refused.trailing_metadata()["x-torpor-code"] == "TPR-1126"
    assert tls_house.door.disbelieved == {what: 2}
    lines = [each for each in caplog.records if "not believed" in each.message]
    assert lines[-1].answer == "TPR-1126"
    assert tls_house.gate.entered == 0


async def test_one_in_some_seconds_is(tls_house, authority, bad, clock):
    await fail(tls_house, authority, bad)
    for _ in range(2):
        assert "TPR-1126" in (await refusal(tls_house, authority, bad)).details()
        for _ in range(2):
            await fail(tls_house, authority, bad)
        clock.now += failed_hosts.SPENT
    clock.now += failed_hosts.REMEMBERED
    await fail(tls_house, authority, bad)


async def test_a_neighbour_loses_nothing(tls_house, authority, bad, clock, worker):
    """Whoever shares the address: at worst one connection in some seconds comes twice."""
    good = authority.issue(uris=ORG)
    for files, metadata in ((good, ONE), (None, TOKEN), (good, TOKEN)):
        await fail(tls_house, authority, bad)
        async with secure(tls_house, authority, files) as channel:
            await asyncio.gather(*(call(channel, metadata) for _ in range(20)))
        await until(lambda: not tls_house.door._explainer._at_once)
        await fail(tls_house, authority, bad)  # spent: the neighbour has used it up
        clock.now += failed_hosts.REMEMBERED
    assert tls_house.door.disbelieved == {"other CA": 6}  # none of the neighbours is counted


async def test_one_who_keeps_failing_keeps_nobody_out(tls_house, authority, bad, clock):
    """Handshakes fail all the time: a new connection in ten is asked to come again."""
    good = authority.issue(uris=ORG)
    sent_round = 0
    serve = tls_house.door._explainer.serve

    async def counted(*arguments):
        nonlocal sent_round
        served = await serve(*arguments)
        sent_round += served is not None
        return served

    tls_house.door._explainer.serve = counted
    tls_house.door._explainer.failed("127.0.0.1:1", "other CA")
    for _ in range(20):
        async with secure(tls_house, authority, good) as channel:
            await asyncio.gather(*(call(channel) for _ in range(5)))
        tls_house.door._explainer.failed("127.0.0.1:1", "other CA")
        clock.now += failed_hosts.SPENT / 10
    assert sent_round == 2


async def test_another_reason_is_not_its_own(tls_house, authority, other, bad):
    """It is sent round, and meets the alert."""
    await fail(tls_house, authority, bad)
    files = authority.issue(uris=ORG, use=ExtendedKeyUsageOID.SERVER_AUTH)
    refused = await refusal(tls_house, authority, files)
    assert refused.code() is grpc.StatusCode.UNAVAILABLE
    assert "TPR-1126" not in refused.details()


@pytest.mark.parametrize("lives", [-5, 3_600], ids=["ended", "good"])
async def test_a_date_is_no_reason(tls_house, authority, bad, lives):
    await fail(tls_house, authority, bad)
    files = authority.issue(uris=ORG, lives=lives)
    async with secure(tls_house, authority, files) as channel:
        if lives > 0:
            await call(channel)
            return
        with pytest.raises(grpc.aio.AioRpcError, match="TPR-1107"):
            await call(channel)


async def test_it_reads_the_files_again(tls_house, authority, other, bad, server_tls):
    """The CA has been added: the client is let in, not told of what was."""
    await fail(tls_house, authority, bad)
    both = authority.path.read_bytes() + other.path.read_bytes()
    authority.path.write_bytes(both)
    assert server_tls.reload(unchanged=True)
    async with secure(tls_house, authority, bad) as channel:
        await call(channel)


async def test_files_that_only_python_can_use(tls_house, authority, bad, monkeypatch, caplog):
    def unusable(files):
        raise ssl.SSLError("no such cipher")

    monkeypatch.setattr(explainer, "_load", unusable)
    for _ in range(3):
        await fail(tls_house, authority, bad)
    assert ["no such cipher" in each.message for each in caplog.records].count(True) == 1


async def test_so_many_at_once(tls_house, authority, bad, monkeypatch):
    monkeypatch.setattr(explainer, "MOST_AT_ONCE", 0)
    for _ in range(3):
        await fail(tls_house, authority, bad)


@pytest.mark.parametrize("alpn", [("h2",), ()], ids=["h2", "none"])
async def test_like_the_door_it_takes_http2_without_alpn(tls_house, authority, bad, alpn):
    await fail(tls_house, authority, bad)
    reader, writer = await connected(tls_house, authority, bad, alpn)
    writer.write(HELLO + REQUEST)
    said = await asyncio.wait_for(reader.read(), 20)
    assert b"TPR-1126" in said
    writer.close()
    assert tls_house.door._connections == set()


async def test_no_session_is_resumed(tls_house, authority, bad, clock):
    context = client_context(authority)
    context.load_cert_chain(bad.certificate, bad.key)

    def ask(session):
        with (
            socket.create_connection(tls_house.address, timeout=20) as plain,
            context.wrap_socket(plain, session=session) as tls,
        ):
            tls.sendall(HELLO + REQUEST)
            said = b""
            while more := tls.recv(65_536):
                said += more
            return said, tls.session_reused, tls.session

    await fail(tls_house, authority, bad)
    session = None
    for _ in range(2):
        said, reused, session = await asyncio.to_thread(ask, session)
        assert b"TPR-1126" in said
        assert not reused
        clock.now += failed_hosts.SPENT
        tls_house.door._explainer.failed("127.0.0.1:1", "other CA")


@pytest.mark.parametrize("sent", [b"", HELLO], ids=["nothing", "no request"])
async def test_one_that_says_nothing_is_ended(tls_house, authority, bad, monkeypatch, sent):
    monkeypatch.setattr(explaining, "PATIENCE", 0.5)
    monkeypatch.setattr(explaining, "LINGER", 0.1)
    await fail(tls_house, authority, bad)
    reader, writer = await connected(tls_house, authority, bad)
    writer.write(sent)
    await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await until(lambda: not tls_house.door._explainer._at_once)


async def test_one_without_a_handshake_is_ended(tls_house, authority, bad, monkeypatch):
    monkeypatch.setattr(explaining, "PATIENCE", 0.2)
    monkeypatch.setattr(explaining, "LINGER", 0.1)
    await fail(tls_house, authority, bad)
    reader, writer = await asyncio.open_connection(*tls_house.address)
    writer.write(b"\x16\x03\x01")
    await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await fail(tls_house, authority, bad)


async def test_one_that_says_too_much_is_ended(tls_house, authority, bad, monkeypatch):
    monkeypatch.setattr(explaining, "LINGER", 60.0)
    await fail(tls_house, authority, bad)
    _, writer = await connected(tls_house, authority, bad)
    writer.write(HELLO + REQUEST)
    ping = wire.frame(wire.Kind.PING, 0, 0, bytes(8))
    with suppress(ConnectionError, ssl.SSLError):
        while True:
            writer.write(ping * 1_000)
            await asyncio.wait_for(writer.drain(), 20)
    writer.close()
    await until(lambda: not tls_house.door._explainer._at_once)


async def test_octets_that_are_no_tls(tls_house, authority, bad):
    await fail(tls_house, authority, bad)
    reader, writer = await asyncio.open_connection(*tls_house.address)
    writer.write(b"\x16" * 5_000)
    await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await until(lambda: not tls_house.door._explainer._at_once)


async def test_a_client_that_breaks_its_tls(tls_house, authority, bad, caplog):
    """After its handshake: what is left to be said cannot be."""
    await fail(tls_house, authority, bad)
    context = client_context(authority)
    context.load_cert_chain(bad.certificate, bad.key)

    def broken():
        with socket.create_connection(tls_house.address, timeout=20) as plain:
            tls = context.wrap_socket(
                plain, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
            tls.do_handshake()
            tls.sendall(HELLO)
            os.write(tls.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            with suppress(OSError):
                while tls.recv(65_536):
                    pass
            tls.close()

    await asyncio.to_thread(broken)
    await until(lambda: not tls_house.door._explainer._at_once)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_a_door_that_closes_ends_it(tls_house, authority, bad):
    await fail(tls_house, authority, bad)
    reader, writer = await connected(tls_house, authority, bad)
    await until(lambda: tls_house.door._explainer._at_once)
    await tls_house.door.drain(1.0)
    with suppress(ConnectionError, ssl.SSLError):
        assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()
    await until(lambda: not tls_house.door._explainer._at_once)


async def test_a_door_that_believes_no_client_has_none(house_with, authority):
    leaf = authority.issue(dns=("door.test",))
    house = await house_with(tls=ServerTls(TlsFiles(leaf.certificate, leaf.key)))
    assert house.door._explainer is None
