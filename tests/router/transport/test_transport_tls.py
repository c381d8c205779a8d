"""TLS at the door and towards workers, identities in certificates, and the PROXY protocol."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

import grpc
import pytest
from clientkit.untyped import untyped
from doorkit.authority import Authority, client_context, secure

from torpor_provisioner.contract import Address
from torpor_router.probe import answers
from torpor_router.transport import proxy
from torpor_router.transport.tls import ServerTls, TlsFiles, WorkerTls


async def test_a_bearer_over_tls(tls_house, authority, to_one):
    message = os.urandom(3 << 20)
    async with secure(tls_house, authority) as channel:
        assert await untyped(channel).unary_unary("/t.T/Unary")(message, metadata=to_one) == message


async def test_the_server_name_names_the_satellite(tls_house, authority, worker):
    async with secure(tls_house, authority, name="one--acme.door.test") as channel:
        metadata = (("authorization", "Bearer secret"),)
        assert await untyped(channel).unary_unary("/t.T/Unary")(b"x", metadata=metadata) == b"x"
    assert "authorization" not in worker.metadata[0]


async def test_a_certificate_speaks_for_its_org(tls_house, authority, worker):
    client = authority.issue(uris=("torpor://org/acme",))
    async with secure(tls_house, authority, client) as channel:
        metadata = (("satellite", "one"), ("authorization", "Bearer for the worker"))
        await untyped(channel).unary_unary("/t.T/Unary")(b"", metadata=metadata)
    assert worker.metadata[0]["authorization"] == "Bearer for the worker"
    assert "satellite" not in worker.metadata[0]


async def test_a_certificate_names_its_satellite(tls_house, authority, worker):
    client = authority.issue(uris=("spiffe://other/thing", "torpor://org/acme/satellite/one"))
    async with secure(tls_house, authority, client) as channel:
        assert await untyped(channel).unary_unary("/t.T/Unary")(b"x") == b"x"


async def test_a_certificate_of_another_authority_is_no_identity(tls_house, authority, tmp_path):
    stranger = Authority(tmp_path, "stranger").issue(uris=("torpor://org/acme",))
    async with secure(tls_house, authority, stranger) as channel:
        call = untyped(channel).unary_unary("/t.T/Unary")(
            b"", metadata=(("satellite", "acme/one"),)
        )
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def _handshake(house, context):
    _, writer = await asyncio.open_connection(*house.address, ssl=context)
    tls = writer.get_extra_info("ssl_object")
    told = tls.version(), tls.selected_alpn_protocol(), tls.getpeercert()["serialNumber"]
    writer.close()
    return told


async def test_tls_1_2_is_the_oldest_and_h2_is_agreed(house_with, authority):
    leaf = authority.issue(dns=("door.test",))
    house = await house_with(tls=ServerTls(TlsFiles(leaf.certificate, leaf.key)))
    v1_2 = client_context(authority, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert (await _handshake(house, v1_2))[:2] == ("TLSv1.2", "h2")
    assert (await _handshake(house, client_context(authority)))[:2] == ("TLSv1.3", "h2")


async def test_a_new_certificate_without_a_restart(tls_house, server_tls, authority):
    before = (await _handshake(tls_house, client_context(authority)))[2]
    files = server_tls.files
    files.certificate.write_bytes(b"half written")
    assert not server_tls.reload()
    assert (await _handshake(tls_house, client_context(authority)))[2] == before
    leaf = authority.issue(dns=("door.test",))
    files.certificate.write_bytes(leaf.certificate.read_bytes())
    files.key.write_bytes(leaf.key.read_bytes())
    assert server_tls.reload()
    assert not server_tls.reload()
    assert (await _handshake(tls_house, client_context(authority)))[2] != before


@pytest.fixture
async def tls_worker(authority):
    """A worker that wants our certificate, and shows the one for acme/one."""
    leaf = authority.issue(dns=("one--acme.sat.test",), address="192.0.2.1")

    class Hello(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(self.answer)

        async def answer(self, request, context):
            return b"".join(context.auth_context()["x509_common_name"])

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Hello(),))
    pair = (leaf.key.read_bytes(), leaf.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], authority.path.read_bytes(), require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield Address("127.0.0.1", port)
    await server.stop(None)
    await asyncio.sleep(0.1)  # for TLS connections that were being shut down to see its end


async def test_mutual_tls_to_the_worker(house_with, tls_worker, authority, to_one, to_two):
    ours = authority.issue(uris=("torpor://router",))
    tls = WorkerTls(authority.path, "sat.test", ours.certificate, ours.key)
    house = await house_with(worker_tls=tls, connect_timeout=2)
    house.gate.add("acme/one", tls_worker)
    house.gate.add("acme/two", tls_worker)
    async with house.channel() as channel:
        assert (await channel.unary_unary("/t.T/Who")(b"", metadata=to_one)).startswith(b"leaf")
    async with house.channel() as channel:
        # the worker's certificate is another satellite's: nothing is sent to it
        call = channel.unary_unary("/t.T/Who")(b"", metadata=to_two)
        assert "TPR-4001" in await call.details()
    assert await answers(tls_worker, 10, tls.probe_context)
    assert not await answers(tls_worker, 0.5)


async def test_a_probe(worker, unused_port):
    assert await answers(worker.address, 10)
    assert not await answers(Address("127.0.0.1", unused_port), 1)


async def test_a_probe_of_what_only_accepts():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not await answers(Address(*silent.getsockname()), 0.1)


def proxy_header(source, command=0x21, family=0x11):
    host, port = source
    addresses = socket.inet_aton(host) + socket.inet_aton("10.0.0.1")
    addresses += port.to_bytes(2, "big") + (443).to_bytes(2, "big") + b"\x03\x00\x01x"  # a TLV
    return (
        proxy.SIGNATURE + bytes((command, family)) + len(addresses).to_bytes(2, "big") + addresses
    )


@pytest.mark.parametrize("over_tls", [False, True])
async def test_the_address_behind_a_load_balancer(
    house_with, worker, authority, server_tls, over_tls, until
):
    house = await house_with(tls=server_tls if over_tls else None, proxy_protocol=True)
    reader, writer = await asyncio.open_connection(*house.address)
    for octet in proxy_header(("203.0.113.9", 4711)):
        writer.write(bytes((octet,)))
    await writer.drain()
    if over_tls:
        await writer.start_tls(client_context(authority))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    head = await asyncio.wait_for(reader.readexactly(9), 20)
    assert head[3] == 4  # SETTINGS
    (connection,) = house.door._connections
    assert connection.pair.peer.address == "203.0.113.9:4711"
    writer.close()
    await until(lambda: not house.door.relay.counts.connections)


@pytest.mark.parametrize(
    "octets",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        proxy.SIGNATURE + b"\x21\x11\xff\xff",
        proxy.SIGNATURE + b"\x21\x11\x00\x02ab",
        proxy.SIGNATURE + b"\x11\x11\x00\x00",
    ],
)
async def test_no_proxy_header_no_connection(house_with, octets):
    house = await house_with(proxy_protocol=True)
    reader, writer = await asyncio.open_connection(*house.address)
    writer.write(octets)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 20)
    writer.close()
    assert not house.door.relay.counts.connections_opened


async def test_a_header_that_never_ends_is_given_up(house_with):
    house = await house_with(proxy_protocol=True, preface_timeout=0.1)
    reader, writer = await asyncio.open_connection(*house.address)
    writer.write(proxy.SIGNATURE)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


def test_addresses_in_proxy_headers():
    rest = bytes(15) + b"\x01" + bytes(16) + (80).to_bytes(2, "big") + bytes(2)
    assert proxy.source(0x21, 0x21, rest) == "[::1]:80"
    assert proxy.source(0x20, 0x00, b"") is None  # LOCAL: the balancer's own health check
    assert proxy.source(0x21, 0x31, bytes(216)) is None  # a unix socket
