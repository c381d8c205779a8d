"""A machine's worker: a small HTTP/2 server for two methods, which can be frozen and stopped.

It knows which streams are open on it, by the name that the client gave each call.

    python -m chaoskit.worker --host 127.0.0.2 --port 18372 --log streams

serves as a process of its own, frozen and ended by whoever started it, and writes down when each
stream was opened and when it was closed.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hpack

from torpor_provisioner.contract import Address
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ACK, END_HEADERS, END_STREAM, Kind

CALL = b"chaos-call"
UNARY = b"/chaos.Build/Unary"
STREAM = b"/chaos.Build/Stream"
BOOTED, OPENED, CLOSED = "booted", "opened", "closed"  # words of the log
TICK = 0.5  # seconds between two messages of a stream
_ANSWER = encode(((b":status", b"200"), (b"content-type", b"application/grpc")))
_TRAILERS = encode(((b"grpc-status", b"0"),))


def _unheard(_event: str, _call: str = "") -> None:
    pass


def message(octets: bytes) -> bytes:
    return b"\0" + len(octets).to_bytes(4, "big") + octets


class Worker:
    """Listens from `start` to `stop`; between `freeze` and `thaw` it does nothing at all, and
    whoever connects meanwhile waits in the kernel."""

    def __init__(self, address: Address, tell: Callable[..., None] = _unheard) -> None:
        self.address = address
        self.tell = tell
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._accepting: set[asyncio.Task[Any]] = set()
        self.frozen = False

    @property
    def listening(self) -> bool:
        return self._socket is not None

    @property
    def streams(self) -> list[str]:
        """The calls that are open here now."""
        return [call for each in self._connections for call in each.calls.values()]

    def start(self) -> None:
        """Answer; after `freeze`, with every connection as it was."""
        if self._socket is None:
            listening = self._socket = socket.socket()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(self.address)
            listening.listen(256)
            listening.setblocking(False)
        self.frozen = False
        self._loop.add_reader(self._socket, self._accept)
        for each in self._connections:
            each.thaw()

    def freeze(self) -> None:
        assert self._socket is not None
        self.frozen = True
        self._loop.remove_reader(self._socket)
        for each in self._connections:
            each.freeze()

    def stop(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for each in list(self._connections):
            each.abort()
        self._connections.clear()

    def _accept(self) -> None:
        assert self._socket is not None
        while True:
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            connection = Connection(self)
            self._connections.add(connection)
            task = self._loop.create_task(
                self._loop.connect_accepted_socket(partial(_same, connection), accepted)
            )
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)


def _same(connection: Connection) -> Connection:
    return connection


class Connection(asyncio.Protocol):
    """One node's connection."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._seen = b""
        self._greeted = False
        self._decoder = hpack.Decoder()
        self._blocks: dict[int, bytes] = {}
        self._bodies: dict[int, bytearray] = {}
        self._paths: dict[int, bytes] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._overdue: list[int] = []
        self._left: dict[int, int] = {}  # messages of a stream to come
        self._aborted = False
        self.calls: dict[int, str] = {}

    # --- the machine

    def freeze(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def thaw(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        overdue, self._overdue = self._overdue, []
        for stream in overdue:
            self._step(stream)

    def abort(self) -> None:
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()
        self._forget_all()

    def _forget_all(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._overdue.clear()
        for call in self.calls.values():
            self._worker.tell(CLOSED, call)
        self.calls.clear()

    # --- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._aborted:
            transport.abort()
        elif self._worker.frozen:
            transport.pause_reading()
        self._write(wire.settings(((wire.Setting.HEADER_TABLE_SIZE, 0),)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_all()
        self._worker.closed(self)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if not self._greeted:
            if len(self._seen) < len(wire.PREFACE):
                return
            assert self._seen.startswith(wire.PREFACE)
            self._seen = self._seen[len(wire.PREFACE) :]
            self._greeted = True
        at = 0
        while len(self._seen) - at >= wire.HEADER_SIZE:
            word, flags, stream = wire.unpack_header(self._seen, at)
            end = at + wire.HEADER_SIZE + (word >> 8)
            if end > len(self._seen):
                break
            self._frame(word & 0xFF, flags, stream, self._seen[at + wire.HEADER_SIZE : end])
            at = end
        self._seen = self._seen[at:]

    def _write(self, octets: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    # --- HTTP/2

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == Kind.SETTINGS and not flags & ACK:
            self._write(wire.SETTINGS_ACK)
        elif kind == Kind.PING and not flags & ACK:
            self._write(wire.ping_ack(payload))
        elif kind in (Kind.HEADERS, Kind.CONTINUATION):
            self._headers(flags, stream, payload)
        elif kind == Kind.DATA:
            self._data(flags, stream, payload)
        elif kind == Kind.RST_STREAM:
            self._end(stream)

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        assert not flags & (wire.PADDED | wire.PRIORITIZED), "no client of ours sends these"
        block = self._blocks.pop(stream, b"") + payload
        if not flags & END_HEADERS:
            self._blocks[stream] = block
            return
        fields = dict(self._decoder.decode(block, raw=True))
        self._paths[stream] = fields[b":path"]
        self.calls[stream] = fields[CALL].decode()
        self._worker.tell(OPENED, self.calls[stream])
        self._bodies[stream] = bytearray()
        if flags & END_STREAM:
            self._asked(stream)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        if payload:
            self._write(wire.window_update(0, len(payload)))
        if stream in self._bodies:
            self._bodies[stream] += payload
            if flags & END_STREAM:
                self._asked(stream)

    # --- the two methods

    def _asked(self, stream: int) -> None:
        body = bytes(self._bodies.pop(stream)[5:])
        count, pause = (1, float(body)) if self._paths[stream] == UNARY else (int(body), TICK)
        self._left[stream] = count
        self._write(wire.headers(stream, _ANSWER, end_stream=False))
        self._later(stream, pause)

    def _later(self, stream: int, pause: float) -> None:
        self._timers[stream] = self._loop.call_later(pause, self._step, stream)

    def _step(self, stream: int) -> None:
        self._timers.pop(stream, None)
        if stream not in self.calls:
            return
        if self._worker.frozen:
            self._overdue.append(stream)
            return
        self._left[stream] -= 1
        left = self._left[stream]
        octets = wire.frame(Kind.DATA, 0, stream, message(b"%d" % left))
        if left:
            self._write(octets)
            self._later(stream, TICK)
        else:
            self._write(octets + wire.headers(stream, _TRAILERS, end_stream=True))
            self._end(stream)

    def _end(self, stream: int) -> None:
        if (call := self.calls.pop(stream, None)) is not None:
            self._worker.tell(CLOSED, call)
        self._paths.pop(stream, None)
        self._bodies.pop(stream, None)
        self._left.pop(stream, None)
        timer = self._timers.pop(stream, None)
        if timer is not None:
            timer.cancel()


async def serve(address: Address, log: Path) -> None:
    """Until the process is ended."""
    with log.open("a", buffering=1) as lines:

        def tell(event: str, call: str = "") -> None:
            lines.write(f"{time.monotonic():.6f} {event} {call}\n")

        worker = Worker(address, tell)
        tell(BOOTED)
        worker.start()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaoskit.worker")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    asked = parser.parse_args()
    asyncio.run(serve(Address(asked.host, asked.port), asked.log))


if __name__ == "__main__":
    main()
