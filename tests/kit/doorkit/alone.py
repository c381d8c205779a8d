"""Doors in processes of their own, whose memory and loop are their own: `python -m doorkit.alone`.

The gate and the directory are the fakes. A process costs twice as much as what most tests do with
it, nearly all for its imports: so one imports them all, and forks a new one for each door.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import uvloop
from doorkit.authority import Files
from doorkit.fakes import NOWHERE, FakeDirectory, FakeGate

from torpor_provisioner.contract import Address
from torpor_router.door import Door
from torpor_router.limits import Limits
from torpor_router.serve import garbage
from torpor_router.transport.tls import ServerTls, TlsFiles

_BETWEEN_PIECES = 0.02  # seconds
_REQUEST = 1 << 16  # octets at most


@dataclass(frozen=True)
class Report:
    resident: float  # MiB
    most: float  # MiB, ever
    cpu: float  # seconds, of the process
    longest: float  # turn of the loop since the last report, in seconds of CPU
    piece: float  # seconds of CPU that `PIECE` took at its slowest since then
    connections: int
    streams: int
    inside: int  # counted in at the gate


def piece() -> None:
    """A fixed piece of work: half a millisecond on a core that has nothing else to do.

    A core that others slow down (its caches, its clock, its hypervisor) is slower at this too.
    """
    kept: dict[int, tuple[int, bytes]] = {}
    for n in range(4_000):
        kept[n % 89] = (n, b"%d" % n)


class Turns:
    """The longest turn of the loop, by CPU, and what a piece of work took in the same time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._last = time.thread_time()
        self._piece_at = 0.0
        self._longest = 0.0
        self._piece = 0.0
        loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = time.thread_time()
        self._longest = max(self._longest, now - self._last)
        if time.monotonic() - self._piece_at > _BETWEEN_PIECES:
            self._measure()
        time.sleep(0.0002)  # a loop that has nothing to do would take the machine's CPU
        self._last = time.thread_time()
        self._loop.call_soon(self._turn)

    def _measure(self) -> None:
        began = time.thread_time()
        piece()
        self._piece = max(self._piece, time.thread_time() - began)
        self._piece_at = time.monotonic()

    def take(self) -> tuple[float, float]:
        """The longest turn, and the slowest piece of work, since it was last asked."""
        self._measure()
        taken = self._longest, self._piece
        self._longest = self._piece = 0.0
        return taken


def _report(door: Door, gate: FakeGate, turns: Turns) -> Report:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    used = resource.getrusage(resource.RUSAGE_SELF)  # whose ru_maxrss knows the parent's memory
    return Report(
        int(status["VmRSS"].split()[0]) / 1024,
        int(status["VmHWM"].split()[0]) / 1024,
        used.ru_utime + used.ru_stime,
        *turns.take(),
        door.relay.counts.connections,
        door.relay.counts.streams,
        gate.inside.total(),
    )


def _tls(files: list[str]) -> ServerTls | None:
    return ServerTls(TlsFiles(*map(Path, files))) if files else None


async def _serve(
    line: socket.socket, satellites: dict[str, int], limits: dict[str, Any], tls: list[str]
) -> None:
    """Write the port, and for each line that comes a `Report` as JSON, until no more come."""
    gate = FakeGate()
    for name, port in satellites.items():
        gate.add(name, Address("127.0.0.1", port))
    door = Door(
        gate=gate,
        directory=FakeDirectory(),
        own=NOWHERE,
        limits=Limits(**limits),
        tls=_tls(tls),
    )
    address = await door.listen("127.0.0.1")
    turns = Turns(asyncio.get_running_loop())
    reader, writer = await asyncio.open_connection(sock=line.dup())
    writer.write(b"%d\n" % address.port)
    while await reader.readline():
        writer.write(json.dumps(asdict(_report(door, gate, turns))).encode() + b"\n")
    await door.aclose()
    writer.close()


def _fork_for_each(requests: socket.socket) -> None:
    """Serve a door for each request: its JSON, a socket to its test, and a file for its errors."""
    garbage.collect_rarely()  # as `torpor serve` does
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they are reaped
    while True:
        request, files, _, _ = socket.recv_fds(requests, _REQUEST, 2)
        if not request:
            return
        line, errors = files
        if os.fork() == 0:
            requests.close()
            os.dup2(errors, sys.stderr.fileno())
            try:
                uvloop.run(_serve(socket.socket(fileno=line), *json.loads(request)))
            except BaseException:  # noqa: BLE001 - what the test reads
                traceback.print_exc()
            finally:
                os._exit(0)  # which closes the line: by then all is written
        os.close(line)
        os.close(errors)


class Alone:
    """A door's process, as a test sees it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.address = address

    def __repr__(self) -> str:
        return f"<Alone at {self.address}>"

    async def report(self) -> Report:
        self._writer.write(b"\n")
        return Report(**json.loads(await self._reader.readline()))


class Doors:
    """Opens doors."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests

    @asynccontextmanager
    async def door(
        self, satellites: dict[str, Address], *, tls: Files | None = None, **limits: float
    ) -> AsyncIterator[Alone]:
        """Run one; fails if it had an error that nobody took, which it would have survived."""
        files = [] if tls is None else [str(tls.certificate), str(tls.key)]
        ports = {name: address.port for name, address in satellites.items()}
        ours, theirs = socket.socketpair()
        with TemporaryFile() as errors:
            with theirs:
                request = json.dumps((ports, limits, files)).encode()
                socket.send_fds(self._requests, [request], [theirs.fileno(), errors.fileno()])
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                port = int(await reader.readline() or 0)
                if port:
                    yield Alone(reader, writer, Address("127.0.0.1", port))
            finally:
                writer.write_eof()
                await reader.read()
                writer.close()
                await writer.wait_closed()
            errors.seek(0)
            assert b"Traceback" not in (text := errors.read()), text.decode()[-4_000:]


@contextmanager
def forked_doors() -> Iterator[Doors]:
    """The process from which doors are forked. It ends with the block, and so do they."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        theirs,
        subprocess.Popen(
            [sys.executable, "-m", "doorkit.alone", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={"PYTHONPATH": str(Path(__file__).parents[1]), "MALLOC_ARENA_MAX": "1"},
        ),
    ):
        theirs.close()
        try:
            yield Doors(ours)
        finally:
            ours.close()


if __name__ == "__main__":
    _fork_for_each(socket.socket(fileno=int(sys.argv[1])))
