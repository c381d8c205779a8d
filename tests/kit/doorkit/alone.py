"""A door in a process of its own, whose memory and loop are its own: `python -m doorkit.alone`.

The gate and the directory are the fakes. The arguments, as JSON: satellites that are awake, with
their workers' ports; limits; and the files of TLS, if it is to speak that. It prints its port, and
for each line on its standard input a `Report` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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


async def _serve(satellites: dict[str, int], limits: dict[str, Any], tls: list[str]) -> None:
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
    garbage.collect_rarely()  # as `torpor serve` does
    address = await door.listen("127.0.0.1")
    loop = asyncio.get_running_loop()
    turns = Turns(loop)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sys.stdout.write(f"{address.port}\n")
    sys.stdout.flush()
    while await reader.readline():
        sys.stdout.write(json.dumps(asdict(_report(door, gate, turns))) + "\n")
        sys.stdout.flush()
    await door.aclose()


class Alone:
    """The other process, as a test sees it."""

    def __init__(self, process: asyncio.subprocess.Process, address: Address) -> None:
        self._process = process
        self.address = address

    def __repr__(self) -> str:
        return f"<Alone at {self.address}>"

    async def report(self) -> Report:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return Report(**json.loads(await self._process.stdout.readline()))


@asynccontextmanager
async def door_alone(
    satellites: dict[str, Address], *, tls: Files | None = None, **limits: float
) -> AsyncIterator[Alone]:
    """Run one; fails if it had an error that nobody took, which it would have survived."""
    paths = [str(Path(__file__).parents[1])]
    files = [] if tls is None else [str(tls.certificate), str(tls.key)]
    ports = {name: address.port for name, address in satellites.items()}
    with TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "doorkit.alone", *map(json.dumps, (ports, limits, files))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={"PYTHONPATH": ":".join(paths), "MALLOC_ARENA_MAX": "1"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(await process.stdout.readline())
            yield Alone(process, Address("127.0.0.1", port))
        finally:
            process.stdin.close()
            await process.wait()
        said.seek(0)
        assert b"Traceback" not in (text := said.read()), text.decode()[-4_000:]


if __name__ == "__main__":
    uvloop.run(_serve(*map(json.loads, sys.argv[1:])))
