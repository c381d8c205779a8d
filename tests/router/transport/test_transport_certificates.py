"""A client certificate that is not good: its owner is told why, and so are we."""

from __future__ import annotations

import asyncio
import logging
import ssl

import grpc
import pytest
from clientkit.untyped import untyped
from cryptography.x509.oid import ExtendedKeyUsageOID
from doorkit.authority import Authority, client_context, secure
from waiting import until

from torpor_router.transport import explainer

ORG = ("torpor://org/acme",)
ONE = (("satellite", "acme/one"),)
# why -> what the client's library calls the alert, and what OpenSSL says to us
CASES = {
    "other CA": ("UNKNOWN_CA", "unable to get local issuer"),
    "wrong use": ("UNSUPPORTED_CERTIFICATE", "unsuitable certificate purpose"),
}


@pytest.fixture
def issue(authority, tmp_path):
    other = Authority(tmp_path, "another")

    def make(what):
        if what == "wrong use":
            return authority.issue(uris=ORG, use=ExtendedKeyUsageOID.SERVER_AUTH)
        return other.issue(uris=ORG)

    return make


@pytest.mark.parametrize("what", ["other CA", "wrong use"])
async def test_one_that_is_not_believed_gets_the_alert(
    tls_house, authority, issue, caplog, what, monkeypatch
):
    monkeypatch.setattr(explainer, "MOST_AT_ONCE", 0)  # the second connection is no exception
    alert, cause = CASES[what]
    files = issue(what)
    context = client_context(authority)
    context.load_cert_chain(files.certificate, files.key)
    for times in range(1, 4):
        reader, writer = await asyncio.open_connection(*tls_house.address, ssl=context)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with pytest.raises(ssl.SSLError, match=alert):
            await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await until(lambda times=times: tls_house.door.disbelieved[what] == times)  # type: ignore[misc]
    assert tls_house.door.disbelieved == {what: 3}
    [first, *_] = [each for each in caplog.records if "not believed" in each.message]
    assert first.levelno == logging.WARNING
    assert cause in first.cause
    assert first.peer.startswith("127.0.0.1:")


async def test_a_refused_handshake_ends_although_the_client_does_not(
    house_with, worker, server_tls, authority, issue
):
    """What is said is an alert, and not for as long as the client likes."""
    house = await house_with(tls=server_tls, preface_timeout=2.0)
    files = issue("other CA")
    context = client_context(authority)
    context.load_cert_chain(files.certificate, files.key)
    outgoing, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    reader, writer = await asyncio.open_connection(*house.address)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65_536))
    writer.write(outgoing.read())
    async with asyncio.timeout(20):
        while await reader.read(65_536):
            pass
    await until(lambda: house.door.disbelieved["other CA"] == 1)
    writer.close()


async def test_grpc_says_so_too(tls_house, authority, issue):
    async with secure(tls_house, authority, issue("other CA")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await untyped(channel).unary_unary("/t.T/Unary")(b"", metadata=ONE, timeout=20)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("times", "code"),
    [({"lives": -5}, "TPR-1107"), ({"begins": 1_800}, "TPR-1125")],
    ids=["ended", "not yet"],
)
async def test_one_whose_time_it_is_not_is_refused_with_a_code(tls_house, authority, times, code):
    """At the first request, on a connection like any other, and no satellite hears of it."""
    files = authority.issue(uris=ORG, **times)
    async with secure(tls_house, authority, files) as channel:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await untyped(channel).unary_unary("/t.T/Unary")(b"", metadata=ONE, timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert code in refused.value.details()
        [connection] = tls_house.door._connections
        assert connection in tls_house.door.strangers._staying
    assert not tls_house.door.disbelieved
    assert tls_house.gate.entered == 0


async def test_a_certificate_is_good_no_longer_than_its_chain(tls_house, authority):
    for lives, ends in ((1_000, 1_000), (9_000, 3_600)):
        files = authority.issue(uris=ORG, lives=lives)
        async with secure(tls_house, authority, files) as channel:
            await untyped(channel).unary_unary("/t.T/Unary")(b"", metadata=ONE, timeout=20)
            [connection] = tls_house.door._connections
            certificate = connection.pair.peer.certificate
            assert certificate.ends - certificate.begins == pytest.approx(3_600 + ends, abs=30)
        await until(lambda: not tls_house.door._connections)
