"""Very many connections at once, each with one call: what they cost, and that all are answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from struct import Struct

from doorbench.load import Target
from doorbench.worker import UNARY, message_file

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 120.0  # seconds for everybody together
_HEADER = Struct(">IBI")
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_AT_ONCE = 256  # connections being made


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    assert max(len(name), len(value)) < 127  # one octet tells the length
    return bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()


def _opening(target: Target) -> bytes:
    """All that a client says: preface, SETTINGS, one call."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", UNARY), (":authority", "bench")]
    block = b"".join(_literal(*field) for field in [*fields, *target.fields()])
    message = message_file(UNARY).read_bytes()
    return b"".join(
        (
            PREFACE,
            _frame(_SETTINGS, 0, 0),
            _frame(_HEADERS, 4, 1, block),
            _frame(_DATA, 1, 1, message),
        )
    )


class Client(asyncio.Protocol):
    """One connection. `told` hears "answered", or what went wrong."""

    def __init__(self, opening: bytes, told: Callable[[str], None]) -> None:
        self._opening = opening
        self._told = told
        self._seen = bytearray()
        self._octets = 0
        self.over = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._opening)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while len(self._seen) >= 9:
            word, flags, _ = _HEADER.unpack_from(self._seen)
            end = 9 + (word >> 8)
            if len(self._seen) < end:
                return
            del self._seen[:end]
            self._on_frame(word & 0xFF, flags, word >> 8)

    def _on_frame(self, kind: int, flags: int, size: int) -> None:
        assert self.transport is not None
        if kind == _SETTINGS and not flags & 1:
            self.transport.write(_frame(_SETTINGS, 1, 0))
        elif kind == _DATA:
            self._octets += size
        elif kind in (_RST_STREAM, _GOAWAY):
            self._finish("reset" if kind == _RST_STREAM else "sent away")
        if kind in (_DATA, _HEADERS) and flags & 1:
            self._finish("answered" if self._octets else "refused")

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(f"lost: {exc}")

    def _finish(self, how: str) -> None:
        if not self.over:
            self.over = True
            self._told(how)


class Crowd:
    """Everybody's connections to one target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._opening = _opening(target)
        self._clients: list[Client] = []
        self.how: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Crowd of {len(self._clients)}: {dict(self.how)}>"

    async def come(self, count: int, *, stay: bool) -> None:
        """Make `count` connections. Who does not stay closes his when he is answered."""
        turn = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._one(turn, stay=stay))

    async def _one(self, turn: asyncio.Semaphore, *, stay: bool) -> None:
        client: Client

        def told(how: str) -> None:
            self.how[how] += 1
            if not stay and client.transport is not None:
                client.transport.abort()

        client = Client(self._opening, told)
        async with turn:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: client, "127.0.0.1", self._target.port)
        self._clients.append(client)

    async def over(self) -> float:
        """Wait until everybody has had an answer or a refusal; the seconds that took."""
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while self.how.total() < len(self._clients):
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    @property
    def failed(self) -> int:
        return self.how.total() - self.how["answered"]

    def go(self) -> None:
        _abort(self._clients)


def _abort(clients: Iterable[Client]) -> None:
    for client in clients:
        if client.transport is not None:
            client.over = True
            client.transport.abort()
