"""From the worker's first answer to the held request at the worker, through the door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from doorkit.fakes import FakeDirectory, satellite_id
from doorkit.frames import FrameClient
from lifecyclebench.rows import Row, at, ms
from lifecyclebench.stage import BUDGET, Bench

from torpor_provisioner.contract import Address
from torpor_router.door import Door
from torpor_router.h2 import wire
from torpor_router.h2.wire import Kind
from torpor_router.limits import Limits
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.postgres.pool import Database


class Worker:
    """Answers from a moment on, and notes when a request comes."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.answers_since = 0.0
        self.asked = asyncio.Event()
        self.asked_at = 0.0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)
        self.answers_since = time.perf_counter()

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.settings(()))
        try:
            await reader.readexactly(len(wire.PREFACE))
            while True:
                word, _, _ = wire.unpack_header(await reader.readexactly(wire.HEADER_SIZE), 0)
                await reader.readexactly(word >> 8)
                if word & 0xFF == Kind.HEADERS:
                    self.asked_at = time.perf_counter()
                    self.asked.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class ById(FakeDirectory):
    """Knows the satellites of the bench by their names."""

    def __init__(self, satellites: Mapping[str, UUID]) -> None:
        super().__init__()
        self._ids = {satellite_id(name): known for name, known in satellites.items()}

    def _route(self, ask: Any) -> Any:
        route = super()._route(ask)
        return type(route)(self._ids[route.satellite_id], route.org, route.satellite, route.caller)


async def forwards(bench: Bench) -> list[Row]:
    number = 20 if bench.short else 100
    database = await bench.database()
    satellites = await bench.satellites(database, number)
    names = {f"acme/n{n}": each for n, each in enumerate(satellites, 1)}
    took = []
    async with bench.nodes(database, 1, FleetConfig()) as [(fleet, _)]:
        door = Door(gate=fleet, directory=ById(names), own=Path("/nowhere"), limits=Limits())
        address = Address(*await door.listen("127.0.0.1", 0))
        for n, (name, satellite) in enumerate(names.items(), 1):
            took.append(await _forward(bench, database, address, n, name, satellite))
        await door.aclose()
    slowest = at(took, 0.95)
    spread = f"{ms(slowest)} (p50 {ms(at(took, 0.5))}, most {ms(max(took))})"
    return [
        Row("worker answers to held request at the worker, p95", "100 ms", spread, slowest <= 0.1)
    ]


async def _forward(
    bench: Bench, database: Database, door: Address, n: int, name: str, satellite: UUID
) -> float:
    worker = Worker(Address(f"127.0.{n // 250}.{n % 250 + 2}", 50_052))

    async def boot() -> None:
        await asyncio.sleep(0.3 + 0.1 * (n * 0.618 % 1))  # at every phase of the probes
        await worker.start()

    bench.machines.boot[f"m-{n}"] = boot
    await database.execute(
        "update satellites set host = $2, port = $3 where id = $1", satellite, *worker.address
    )
    client = await FrameClient.connect(door)
    client.satellite = name.encode()
    client.send(client.request(1, end=True))
    async with asyncio.timeout(BUDGET):
        await worker.asked.wait()
    await client.aclose()
    await worker.aclose()
    return worker.asked_at - worker.answers_since
