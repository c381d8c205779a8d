"""What tests of the door are given: `from doorkit.fixtures import *` in a conftest.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from doorkit.authority import Authority
from doorkit.echo import UNLIMITED, EchoService, Seen
from doorkit.fakes import NOWHERE, FakeDirectory, FakeGate
from doorkit.house import House
from doorkit.raw import RawClient
from doorkit.serving import serving
from waiting import until

from torpor_provisioner.contract import Address
from torpor_router.dialects.last_answers import LastAnswers
from torpor_router.door import Door
from torpor_router.limits import Limits
from torpor_router.transport.tls import ServerTls, TlsFiles, WorkerTls

Build = Callable[..., Awaitable[House]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the door runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def worker() -> AsyncIterator[Seen]:
    """A real gRPC server that keeps what it saw."""
    seen = Seen()
    async with serving(EchoService(seen), options=UNLIMITED) as seen.address:
        yield seen


@pytest.fixture
async def house_with(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[..., Awaitable[House]]]:
    """Build a house with the limits a test wants. Its door looks round more often than others."""
    monkeypatch.setattr("torpor_router.door._TICK", 0.05)
    doors: list[Door] = []

    async def build(
        own: Address = NOWHERE,
        tls: ServerTls | None = None,
        worker_tls: WorkerTls | None = None,
        domain: str = "",
        proxy_protocol: bool = False,
        answers: LastAnswers | None = None,
        **limits: Any,
    ) -> House:
        gate, directory = FakeGate(), FakeDirectory()
        door = Door(
            gate=gate,
            directory=directory,
            own=own,
            limits=Limits(**limits),
            tls=tls,
            worker_tls=worker_tls,
            domain=domain,
            answers=answers,
        )
        doors.append(door)
        address = await door.listen("127.0.0.1", proxy_protocol=proxy_protocol)
        return House(door, gate, directory, address)

    yield build
    for door in doors:
        await door.aclose()


@pytest.fixture
async def house(house_with: Build, worker: Seen) -> House:
    """A door in front of acme/one, which is awake, and acme/two, which sleeps."""
    made: House = await house_with()
    made.gate.add("acme/one", worker.address)
    made.gate.add("acme/two", worker.address, awake=False)
    return made


@pytest.fixture
def to_one() -> tuple[tuple[str, str], ...]:
    return (("satellite", "acme/one"), ("authorization", "Bearer secret"))


@pytest.fixture
def to_two() -> tuple[tuple[str, str], ...]:
    return (("satellite", "acme/two"), ("authorization", "Bearer secret"))


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[None]]:
    """Wait until something is true."""
    return until


@pytest.fixture
async def raw(house: House) -> AsyncIterator[Callable[..., object]]:
    """Connect a `RawClient` to the house's door."""
    clients: list[RawClient] = []

    async def connect(*, start: bool = True, to: House = house) -> RawClient:
        client = RawClient(*await asyncio.open_connection(*to.address))
        clients.append(client)
        if start:
            client.start()
        return client

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server_tls(authority: Authority) -> ServerTls:
    """The door's, which believes client certificates of the authority."""
    leaf = authority.issue(dns=("door.test", "*.door.test"))
    return ServerTls(TlsFiles(leaf.certificate, leaf.key, client_ca=authority.path))


@pytest.fixture
async def tls_house(house_with: Build, worker: Seen, server_tls: ServerTls) -> House:
    """A door with TLS in front of acme/one, which is awake."""
    house = await house_with(tls=server_tls, domain="door.test")
    house.gate.add("acme/one", worker.address)
    return house
