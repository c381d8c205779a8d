"""No error of accept(2) makes a listener deaf, and nobody outside fills the log."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
from doorkit.authority import client_context
from waiting import until

from torpor_router.rate_limited_log import AT_ONCE, RateLimitedLog
from torpor_router.transport import acceptor, proxy
from torpor_router.transport.acceptor import Acceptor

LOCAL = proxy.SIGNATURE + b"\x20\x00\x00\x00"  # a load balancer's own health check
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
ERRORS = sorted(
    {
        *(errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ECONNABORTED),
        *(errno.ENONET, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ENOPROTOOPT, errno.EHOSTDOWN),
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        errno.EIO,  # of which nothing is known
    }
)


class Faulty(socket.socket):
    """A listening socket whose next connections cannot be accepted."""

    errors: list[int]

    def accept(self):
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


@pytest.fixture
def listener(monkeypatch):
    monkeypatch.setattr(acceptor, "_BREATHE", 0.01)
    sock = Faulty()
    sock.bind(("127.0.0.1", 0))
    yield sock
    sock.close()


@pytest.mark.parametrize("behind_proxy", [False, True])
async def test_every_error_is_survived_and_counted(house, listener, behind_proxy, caplog):
    listener.errors = list(ERRORS)
    address = await house.door.listen(sock=listener, proxy_protocol=behind_proxy)
    for _ in range(2):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(LOCAL * behind_proxy + HELLO)
        settings = await asyncio.wait_for(reader.readexactly(9), 20)
        assert settings[3] == 4
        writer.close()
    assert house.door.accept_failures == len(ERRORS)
    told = [record.cause for record in caplog.records if "cannot accept" in record.message]
    assert [os.strerror(number) in cause for number, cause in zip(ERRORS, told, strict=True)]


async def test_a_listener_that_pauses_can_be_closed(listener, monkeypatch):
    monkeypatch.setattr(acceptor, "_BREATHE", 3_600.0)
    listener.errors = [errno.EMFILE]
    made = Acceptor(listener, lambda _: asyncio.Protocol(), patience=1.0, linger=1.0)
    with socket.create_connection(listener.getsockname()):
        async with asyncio.timeout(20):
            while not made.failures:
                await asyncio.sleep(0.005)
        made.close()
    assert listener.fileno() == -1


FULL = """
import asyncio, resource, socket, sys, os
import uvloop
from torpor_router.transport import acceptor

class Hello(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"hi")

async def main():
    acceptor._BREATHE = 0.01
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    made = acceptor.Acceptor(sock, lambda _: Hello(), patience=10, linger=1)
    port = sock.getsockname()[1]
    spare = os.open("/dev/null", os.O_RDONLY)  # asyncio needs one or two of its own
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 6, hard))
    print(port, flush=True)
    async with asyncio.timeout(60):
        while not made.failures:
            await asyncio.sleep(0.005)
    print("full", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    made.close()

uvloop.run(main())
"""


def test_a_process_that_may_open_no_more_files_serves_again_when_it_may(tmp_path):
    """The real thing: RLIMIT_NOFILE."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = "127.0.0.1", int(process.stdout.readline())
        clients = [socket.create_connection(address, 20) for _ in range(20)]
        assert process.stdout.readline() == "full\n"
        for client in clients:
            client.close()
        with socket.create_connection(address, 20) as client:
            assert client.recv(2) == b"hi"
        process.communicate("")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("behind_proxy", "octets"),
    [
        (True, b"GET / HTTP/1.1\r\n\r\n"),
        (False, b"\x16\x00\x00\x00\x05hello"),  # a record of no version of TLS
        (True, LOCAL + b"\x16\x00\x00\x00\x05hello"),  # the same behind a load balancer
    ],
)
async def test_bad_connections_cannot_fill_the_log(caplog, server_tls, behind_proxy, octets):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    name = "torpor.test.acceptor"
    made = Acceptor(
        sock,
        lambda _: asyncio.Protocol(),
        tls=lambda: server_tls.context,
        proxy_protocol=behind_proxy,
        patience=20.0,
        linger=1.0,
        log=RateLimitedLog(logging.getLogger(name), clock=lambda: 0.0),
    )
    with caplog.at_level(logging.INFO):
        for _ in range(int(AT_ONCE) + 20):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            writer.write(octets)
            writer.write_eof()  # TLS's alert waits for it
            with suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 20)
            writer.close()
        await until(lambda: not made._arriving)
    made.close()
    assert [record.name for record in caplog.records] == [name] * int(AT_ONCE)


@pytest.mark.parametrize("octets", [b"", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_silent_crowd_before_tls_keeps_nobody_out(
    house_with, server_tls, authority, octets, monkeypatch
):
    """The oldest of those that have shown nothing gives way; so do those refused that stay."""
    monkeypatch.setattr(acceptor, "_MOST_ARRIVING", 3)
    house = await house_with(tls=server_tls, preface_timeout=3_600.0, linger=3_600.0)
    crowd = [await asyncio.open_connection(*house.address) for _ in range(4)]
    for _, writer in crowd:
        writer.write(octets)
    with suppress(ConnectionResetError):  # what it wrote came after its end
        first = await asyncio.wait_for(crowd[0][0].read(), 20)
        assert first == b"" or octets
    context = client_context(authority)
    reader, writer = await asyncio.open_connection(*house.address, ssl=context)
    writer.write(HELLO)
    assert (await asyncio.wait_for(reader.readexactly(9), 20))[3] == 4
    for _, each in (*crowd, (reader, writer)):
        each.close()
