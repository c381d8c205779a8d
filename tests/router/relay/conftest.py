"""A door with an in-memory gate and directory, in front of a real gRPC worker."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

import grpc
import pytest
import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, ResponseReceived, TrailersReceived

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Capacity, TorporError
from torpor_router.errors import NoCredentials
from torpor_router.limits import Limits
from torpor_router.listener import Door
from torpor_router.routing import Ask, Route
from torpor_router.transport.tls import ServerTls, WorkerTls
from torpor_statemachine.gate import Admitted
from torpor_statemachine.model import WakeKind

NOWHERE = Address("127.0.0.1", 1)
SATELLITE = UUID(int=0)


def satellite_id(name: str) -> UUID:
    return uuid5(SATELLITE, name)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the door runs on."""
    return {"uvloop": uvloop.new_event_loop}


class FakeGate:
    """Satellites that are awake or asleep as the test says; counts who is in."""

    def __init__(self) -> None:
        self.addresses: dict[UUID, Address] = {}
        self.epochs: Counter[UUID] = Counter()
        self.awake: dict[UUID, asyncio.Event] = {}
        self.failures: dict[UUID, TorporError] = {}
        self.inside: Counter[UUID] = Counter()
        self.waiting = 0
        self.entered = 0
        self._told: list[Callable[[UUID], None]] = []

    def add(self, name: str, address: Address, *, awake: bool = True) -> UUID:
        satellite = satellite_id(name)
        self.addresses[satellite] = address
        self.epochs[satellite] = 1
        self.awake[satellite] = asyncio.Event()
        if awake:
            self.awake[satellite].set()
        return satellite

    def sleep(self, satellite: UUID) -> None:
        self.awake[satellite].clear()
        self.epochs[satellite] += 1
        for told in self._told:
            told(satellite)

    def enter(self, satellite: UUID) -> Admitted | None:
        if not self.awake[satellite].is_set() or satellite in self.failures:
            return None
        self.inside[satellite] += 1
        self.entered += 1
        return Admitted(self.addresses[satellite], self.epochs[satellite])

    async def admit(self, satellite: UUID, *, actor: str, budget: float) -> Admitted:
        self.waiting += 1
        try:
            async with asyncio.timeout(budget):
                await self.awake[satellite].wait()
        except TimeoutError:
            raise Capacity("the budget is spent") from None
        finally:
            self.waiting -= 1
        if satellite in self.failures:
            raise self.failures[satellite]
        self.inside[satellite] += 1
        self.entered += 1
        return Admitted(
            self.addresses[satellite], self.epochs[satellite], WakeKind.RESUMED, held=1.0
        )

    def leave(self, satellite: UUID) -> None:
        self.inside[satellite] -= 1
        assert self.inside[satellite] >= 0, "left more often than entered"

    def on_sleep(self, told: Callable[[UUID], None]) -> None:
        self._told.append(told)


class FakeDirectory:
    """Knows every satellite; tokens are good unless revoked. `cached` asks count as trusted."""

    def __init__(self) -> None:
        self.refused: dict[str, TorporError] = {}
        self.slow: set[str] = set()
        self.asked: list[Ask] = []

    def route_now(self, ask: Ask) -> Route | None:
        if ask.token in self.refused or ask.token in self.slow:
            return None
        return self._route(ask)

    async def route(self, ask: Ask) -> Route:
        self.asked.append(ask)
        await asyncio.sleep(0)
        if ask.token in self.refused:
            raise self.refused[ask.token]
        return self._route(ask)

    def _route(self, ask: Ask) -> Route:
        if ask.token is None and ask.certificate_org is None:
            raise NoCredentials
        caller = f"token:{ask.token}" if ask.token else f"certificate:{ask.certificate_org}"
        return Route(satellite_id(f"{ask.org}/{ask.satellite}"), ask.org, ask.satellite, caller)


@dataclass
class Seen:
    """What the worker was sent."""

    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    time_remaining: list[float | None] = field(default_factory=list)
    address: Address = NOWHERE


class EchoService(grpc.GenericRpcHandler):
    """Every stream shape, on raw bytes."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        self.seen.metadata.append(dict(details.invocation_metadata))
        self.seen.calls.append(details.method)
        name = details.method.rpartition("/")[2]
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Meta": grpc.unary_unary_rpc_method_handler(self.meta),
        }.get(name)

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.seen.time_remaining.append(context.time_remaining())
        return request

    async def down(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def up(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
        return b"".join([each async for each in requests])

    async def both(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        async for each in requests:
            yield each[::-1]

    async def fail(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        context.set_trailing_metadata((("why-bin", b"\x00\xff"), ("x-more", "1")))
        await context.abort(grpc.StatusCode.DATA_LOSS, "100% löst\n")
        return b""

    async def hang(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.seen.started.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.seen.cancelled.set()
            raise
        return b""

    async def meta(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.send_initial_metadata(
            [(k, v) for k, v in context.invocation_metadata() if k.startswith("echo-")]
        )
        context.set_trailing_metadata((("echo-trailer-bin", b"\x01\x02\x03"),))
        return b""


UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
]


@pytest.fixture
async def worker() -> AsyncIterator[Seen]:
    """A real gRPC server that keeps what it saw."""
    seen = Seen()
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((EchoService(seen),))
    seen.address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    yield seen
    await server.stop(None)


@dataclass
class House:
    """A door and what it is made of."""

    door: Door
    gate: FakeGate
    directory: FakeDirectory
    address: Address

    @property
    def target(self) -> str:
        return f"{self.address.host}:{self.address.port}"

    def channel(self, **options: int | str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            self.target,
            options=[*UNLIMITED, ("grpc.use_local_subchannel_pool", 1), *options.items()],
        )


@pytest.fixture
async def house_with() -> AsyncIterator[Callable[..., object]]:
    """Build a house with the limits a test wants."""
    doors: list[Door] = []

    async def build(
        own: Address = NOWHERE,
        tls: ServerTls | None = None,
        worker_tls: WorkerTls | None = None,
        domain: str = "",
        proxy_protocol: bool = False,
        **limits: float,
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
        )
        doors.append(door)
        address = await door.listen("127.0.0.1", proxy_protocol=proxy_protocol)
        return House(door, gate, directory, address)

    yield build
    for door in doors:
        await door.aclose()


@pytest.fixture
async def house(house_with: Callable[..., object], worker: Seen) -> House:
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


@pytest.fixture
def until() -> Callable[..., object]:
    """Wait until something is true."""

    async def wait(true: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.005)

    return wait


class RawClient:
    """An HTTP/2 client made of the `h2` library, whose every step the test decides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.reader = reader
        self.writer = writer
        self.events: list[Event] = []
        self.ended = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while data := await self.reader.read(65_536):
            self.events += self.h2.receive_data(data)
            self.flush()
        self.ended = True

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def start(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def request(
        self, stream: int, *metadata: tuple[str, str], path: str = "/t.T/Unary", end: bool = False
    ) -> None:
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        ]
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()

    def message(self, stream: int, octets: bytes, *, end: bool = True) -> None:
        self.h2.send_data(stream, b"\x00" + len(octets).to_bytes(4, "big") + octets, end)
        self.flush()

    def of(self, kind: type[Event], stream: int | None = None) -> list[Any]:
        return [
            each
            for each in self.events
            if isinstance(each, kind) and stream in (None, getattr(each, "stream_id", None))
        ]

    def answer(self, stream: int) -> dict[str, str]:
        """Everything in the response's headers and trailers."""
        answers = self.of(ResponseReceived, stream) + self.of(TrailersReceived, stream)
        return {k: v for each in answers for k, v in each.headers}

    async def aclose(self) -> None:
        self._task.cancel()
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
        await asyncio.gather(self._task, return_exceptions=True)


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
