"""Silent connections are kept through NAT gateways, and peers that vanished are noticed."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from doorkit.fakes import FakeDirectory, FakeGate

from torpor_provisioner.contract import Address
from torpor_router import keepalive
from torpor_router.door import Door
from torpor_router.transport import proxy

PROBES = (1, keepalive.IDLE, keepalive.EVERY, keepalive.TIMES)


def probes(transport) -> tuple[int, ...]:
    sock = transport.get_extra_info("socket")
    return (
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    )


def test_a_build_may_be_silent_for_longer_than_a_gateway_remembers():
    assert keepalive.IDLE + keepalive.EVERY * keepalive.TIMES < 350


async def test_both_sides_of_a_live_connection_are_probed(house, worker, to_one):
    async with house.channel() as channel:
        call = channel.stream_stream("/t.T/Both")(metadata=to_one)
        await call.write(b"ab")
        assert await call.read() == b"ba"
        [connection] = house.door._connections
        assert probes(connection.transport) == PROBES
        assert probes(connection._worker.transport) == PROBES
        user_timeout = connection.transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT
        )
        assert user_timeout == 0  # it would go before the probes, and before write_stall
        call.cancel()


async def test_so_is_one_behind_a_load_balancer(house_with, until):
    house = await house_with(proxy_protocol=True)
    _, writer = await asyncio.open_connection(*house.address)
    writer.write(proxy.SIGNATURE + b"\x20\x00\x00\x00")
    await until(lambda: house.door._connections)
    [connection] = house.door._connections
    assert probes(connection.transport) == PROBES
    writer.close()


# --- A peer that vanishes: a network namespace whose link goes down, as a machine's does


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, str]]:
    """A network namespace, and our address on the link to it."""
    if os.geteuid() != 0 or not Path("/usr/sbin/ip").exists():
        pytest.skip("needs root and iproute2")
    pid = os.getpid()  # tests may run side by side
    name, net, first = f"tp{pid}", f"10.213.{pid // 64 % 256}", pid % 64 * 4
    ours, theirs = f"{net}.{first + 1}", f"{net}.{first + 2}"
    made = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", f"{name}a", "type", "veth", "peer", f"{name}b", "netns", name],
        ["ip", "addr", "add", f"{ours}/30", "dev", f"{name}a"],
        ["ip", "link", "set", f"{name}a", "up"],
        ["ip", "-n", name, "addr", "add", f"{theirs}/30", "dev", f"{name}b"],
        ["ip", "-n", name, "link", "set", f"{name}b", "up"],
    ]
    try:
        for command in made:
            subprocess.run(command, check=True)
        yield name, ours
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", f"{name}a"], check=False, stderr=subprocess.DEVNULL)


async def test_a_client_that_vanished_is_noticed(elsewhere, monkeypatch, until):
    name, ours = elsewhere
    monkeypatch.setattr(keepalive, "IDLE", 1)
    monkeypatch.setattr(keepalive, "EVERY", 1)
    monkeypatch.setattr(keepalive, "TIMES", 2)
    gate = FakeGate()
    door = Door(gate=gate, directory=FakeDirectory(), own=Address("127.0.0.1", 1))
    try:
        address = await door.listen(ours)
        client = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", name, sys.executable, "-c"),
            "import socket, sys\n"
            f"client = socket.create_connection({tuple(address)!r})\n"
            "client.sendall(b'PRI * HTTP/2.0\\r\\n')\n"
            "sys.stdin.read()\n",
            stdin=asyncio.subprocess.PIPE,
        )
        await until(lambda: door.relay.counts.connections)
        down = ["ip", "-n", name, "link", "set", f"{name}b", "down"]
        subprocess.run(down, check=True)  # nothing is said: no FIN, no RST
        await until(lambda: not door.relay.counts.connections)
        assert client.stdin is not None
        client.stdin.close()
        await client.wait()
    finally:
        await door.aclose()
