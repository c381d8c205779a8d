"""Client certificates that are good no more: new connections, resumed ones, and open ones."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl

import grpc
import pytest
from clientkit.untyped import untyped
from doorkit.authority import Authority, client_context, secure
from doorkit.raw import RawClient
from h2.events import ConnectionTerminated, StreamEnded

from torpor_router.transport.tls import ServerTls, TlsFiles

OF_ONE = "torpor://org/acme/satellite/one"


def showing(authority, client, **settings):
    context = client_context(authority, **settings)
    context.load_cert_chain(client.certificate, client.key)
    return context


def resumed(address, context, session):
    """One connection; whether it was resumed, and the session that the door gave it."""
    with (
        socket.create_connection(address, timeout=20) as sock,
        context.wrap_socket(sock, server_hostname="door.test", session=session) as tls,
    ):
        tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        if not tls.recv(9):  # its SETTINGS, and before them its tickets
            raise EOFError
        return tls.session_reused, tls.session


@contextlib.asynccontextmanager
async def raw_with(house, context):
    client = RawClient(*await asyncio.open_connection(*house.address, ssl=context))
    client.start()
    yield client
    await client.aclose()


async def test_no_session_is_resumed_where_certificates_count(tls_house, authority):
    mine = showing(authority, authority.issue(uris=(OF_ONE,)))
    _, session = await asyncio.to_thread(resumed, tls_house.address, mine, None)
    assert not session.has_ticket
    again, _ = await asyncio.to_thread(resumed, tls_house.address, mine, session)
    assert not again


async def test_sessions_are_resumed_where_they_do_not(house_with, authority):
    leaf = authority.issue(dns=("door.test",))
    house = await house_with(tls=ServerTls(TlsFiles(leaf.certificate, leaf.key)))
    context = client_context(authority)
    _, session = await asyncio.to_thread(resumed, house.address, context, None)
    again, _ = await asyncio.to_thread(resumed, house.address, context, session)
    assert again


async def test_tls_1_2_which_cannot_forget_sessions_is_refused(tls_house, authority):
    old = client_context(authority, maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(OSError):  # uvloop says no more than that it was reset
        await asyncio.open_connection(*tls_house.address, ssl=old)


async def test_a_replaced_client_ca_lets_nobody_in(
    tls_house, server_tls, authority, tmp_path, until
):
    client = authority.issue(uris=(OF_ONE,))
    mine = showing(authority, client)
    _, session = await asyncio.to_thread(resumed, tls_house.address, mine, None)
    async with secure(tls_house, authority, client) as channel, raw_with(tls_house, mine) as idle:
        both = untyped(channel).stream_stream("/t.T/Both")()
        await both.write(b"before")
        assert await both.read() == b"erofeb"
        shutil.copy(Authority(tmp_path, "successor").path, authority.path)
        assert server_tls.reload()
        with pytest.raises((OSError, EOFError)):
            await asyncio.to_thread(resumed, tls_house.address, mine, session)
        # who was let in before is so no more, in the middle of a stream too
        await until(lambda: idle.of(ConnectionTerminated))
        assert idle.of(ConnectionTerminated)[0].additional_data.startswith(b"TPR-1120 ")
        assert await both.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await both.details()).startswith("TPR-1120 ")
        again = untyped(channel).unary_unary("/t.T/Unary")(b"")
        # the alert, or why
        refused = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED
        assert await again.code() in refused


async def test_a_client_ca_is_replaced_without_ending_a_stream(
    tls_house, server_tls, authority, tmp_path, until
):
    """The new one beside the old, new certificates, and the old one taken out."""
    successor = Authority(tmp_path, "successor")
    both_cas = authority.path.read_bytes() + successor.path.read_bytes()
    old, new = authority.issue(uris=(OF_ONE,)), successor.issue(uris=(OF_ONE,))
    async with raw_with(tls_house, showing(authority, old)) as before:
        trusting = client_context(authority)  # of the door's own certificate
        (tmp_path / "both.pem").write_bytes(both_cas)
        shutil.copy(tmp_path / "both.pem", authority.path)
        assert server_tls.reload()
        trusting.load_cert_chain(new.certificate, new.key)
        async with raw_with(tls_house, trusting) as after:
            after.request(1, path="/t.T/Both")
            await until(tls_house.gate.inside.total)
            assert not before.of(ConnectionTerminated)
            shutil.copy(successor.path, authority.path)
            assert server_tls.reload()
            await until(lambda: before.ended)
            assert before.of(ConnectionTerminated)[0].additional_data.startswith(b"TPR-1120 ")
            after.message(1, b"on")
            await until(lambda: after.of(StreamEnded, 1))
            assert after.answer(1)["grpc-status"] == "0"
            assert not after.of(ConnectionTerminated)


async def test_a_renewed_server_certificate_disturbs_nobody(
    tls_house, server_tls, authority, until
):
    async with raw_with(tls_house, showing(authority, authority.issue(uris=(OF_ONE,)))) as client:
        files, leaf = server_tls.files, authority.issue(dns=("door.test",))
        files.certificate.write_bytes(leaf.certificate.read_bytes())
        files.key.write_bytes(leaf.key.read_bytes())
        assert server_tls.reload()
        ticks = tls_house.door.relay.tick
        await until(lambda: tls_house.door.relay.tick > ticks + 5)
        client.request(1)
        client.message(1, b"")
        await until(lambda: client.of(StreamEnded, 1))
        assert client.answer(1)["grpc-status"] == "0"
        assert not client.of(ConnectionTerminated)


def _fingerprint(house):
    (connection,) = house.door._connections
    return connection.pair.peer.certificate.fingerprint


@pytest.fixture
def looked_at(tls_house, until):
    """Wait until the door has looked at those who are there now."""

    async def wait():
        ticks = tls_house.door.relay.tick
        await until(lambda: tls_house.door.relay.tick > ticks + 1)

    return wait


async def test_open_connections_end_with_a_revocation(tls_house, authority, looked_at):
    client, other = authority.issue(uris=(OF_ONE,)), authority.issue(uris=(OF_ONE,))
    async with secure(tls_house, authority, client) as channel:
        both = untyped(channel).stream_stream("/t.T/Both")()
        await both.write(b"before")
        assert await both.read() == b"erofeb"
        fingerprint = _fingerprint(tls_house)
        async with secure(tls_house, authority, other) as others:
            theirs = untyped(others).stream_stream("/t.T/Both")()
            await theirs.write(b"before")
            assert await theirs.read() == b"erofeb"
            await looked_at()
            tls_house.directory.revoke(fingerprint)
            assert await both.code() is grpc.StatusCode.UNAUTHENTICATED
            assert (await both.details()).startswith("TPR-1106 ")
            # a new connection learns it too, as the answer to its request
            again = untyped(channel).unary_unary("/t.T/Unary")(b"")
            assert await again.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "TPR-1106" in await again.details()
            await theirs.write(b"after")
            assert await theirs.read() == b"retfa"
            await theirs.done_writing()


async def test_a_connection_without_streams_ends_with_a_revocation(
    tls_house, authority, until, looked_at
):
    async with raw_with(tls_house, showing(authority, authority.issue(uris=(OF_ONE,)))) as client:
        await until(lambda: tls_house.door.relay.counts.connections)
        await looked_at()
        tls_house.directory.revoke(_fingerprint(tls_house))
        await until(lambda: client.ended)
        assert client.of(ConnectionTerminated)[0].additional_data.startswith(b"TPR-1106 ")
    await until(lambda: not tls_house.door.relay.counts.connections)
    assert repr(tls_house.door._certified) == "<Certified by 0 certificates>"


async def test_a_connection_with_a_revoked_certificate_is_ended(tls_house, authority, until):
    """It may have been let in by TLS before this node heard of the revocation."""
    mine = showing(authority, authority.issue(uris=(OF_ONE,)))
    async with raw_with(tls_house, mine) as client:
        await until(lambda: tls_house.door.relay.counts.connections)
        serial = next(iter(tls_house.door._connections)).pair.peer.certificate.serial
        tls_house.directory.revoked.add(serial)
        await client.aclose()
    await until(lambda: not tls_house.door.relay.counts.connections)
    async with raw_with(tls_house, mine) as client:
        await until(lambda: client.ended)
        assert client.of(ConnectionTerminated)[0].additional_data.startswith(b"TPR-1106 ")


async def test_open_connections_end_with_their_certificate(tls_house, authority):
    async with secure(tls_house, authority, authority.issue(uris=(OF_ONE,), lives=3)) as channel:
        both = untyped(channel).stream_stream("/t.T/Both")()
        await both.write(b"before")
        assert await both.read() == b"erofeb"
        assert await both.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await both.details()).startswith("TPR-1107 ")


async def test_an_ended_certificate_is_refused(tls_house, authority):
    ended = authority.issue(uris=(OF_ONE,), lives=-1)
    async with secure(tls_house, authority, ended) as channel:
        call = untyped(channel).unary_unary("/t.T/Unary")(b"")
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await call.details()).startswith("TPR-1107 ")
