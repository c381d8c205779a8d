"""One process of a fleet by itself, as the product runs it.

    python -m fleetbench.process URL rest SECONDS
    python -m fleetbench.process URL wake SHARE SHARES
    python -m fleetbench.process URL failover FOLDER SHARE SHARES STREAMS

prints what it saw as a line of JSON. `wake` waits for a line of input before it begins; `failover`
before it admits its share of the streams, and again before it ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop
from doorkit.alone import Turns
from fleetbench import rows
from fleetbench.listing import Listing

from torpor_provisioner.contract import Address
from torpor_router.access.directory import Directory
from torpor_router.probe import answers
from torpor_router.serve import garbage
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.postgres.pool import Database

CLOSED = Address("127.0.0.1", 1)  # no worker yet
SETTINGS = bytes(3) + b"\x04" + bytes(5)  # an empty SETTINGS frame, as a worker begins with
WITHIN = 300.0
_RUNNING = "select id from satellites where state = 'running' order by ref limit $1"


async def _rest(stack: AsyncExitStack, url: str, seconds: float) -> dict[str, Any]:
    fleet, database, _ = await _fleet(stack, url, "rest", FleetConfig())
    await asyncio.sleep(1.0)
    turns = Turns(asyncio.get_running_loop())
    await fleet._reconciler.end_orphans()
    asked = database.queries + database.vital.queries
    await asyncio.sleep(seconds)
    statements = database.queries + database.vital.queries - asked
    return {"turn": max(turns.take()), "statements": statements / seconds}


async def _wake(stack: AsyncExitStack, url: str, share: int, shares: int) -> dict[str, Any]:
    fleet, database, cloud = await _fleet(stack, url, "wake", FleetConfig())
    found = await database.fetch("select id, ref from satellites order by ref")
    mine = [(row["id"], row["ref"]) for row in found[share::shares]]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    took: list[float] = []

    async def ask(satellite_id: UUID, ref: str) -> None:
        since = time.monotonic()
        await fleet.admit(satellite_id, actor="bench", budget=WITHIN)
        fleet.leave(satellite_id)
        took.append(cloud.called[ref] - since)

    await asyncio.gather(*(ask(*each) for each in mine))
    return {"took": took, "cpu": time.process_time()}


async def _failover(
    stack: AsyncExitStack, url: str, folder: Path, share: int, shares: int, streams: int
) -> dict[str, Any]:
    fleet, database, cloud = await _fleet(stack, url, "failover", FleetConfig(), folder)
    found = await database.fetch(_RUNNING, streams)
    print("here", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for row in found[share::shares]:
        await fleet.admit(row["id"], actor="bench", budget=WITHIN)
    garbage.collect_rarely()  # as `torpor serve` does
    turns = Turns(asyncio.get_running_loop())
    print("admitted", flush=True)
    end = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
    most = before = 0
    while not end.done():
        asked = database.queries + database.vital.queries
        most, before = max(most, asked - before if before else 0), asked
        await asyncio.wait((end,), timeout=1.0)
    return {"turn": turns.take()[0], "statements": most, "starts": cloud.calls}


async def _fleet(
    stack: AsyncExitStack, url: str, what: str, config: FleetConfig, folder: Path | None = None
) -> tuple[Fleet, Database, Listing]:
    database = await stack.enter_async_context(Database(url))
    machines = await rows.machines(database)
    running = await rows.running(database)
    worker = await stack.enter_async_context(_worker())
    cloud = Listing(machines, rows.ADDRESS if what == "rest" else worker, running, folder)

    async def probe(address: Address, timeout: float) -> bool:
        return await answers(address if address.host == worker.host else CLOSED, timeout)

    fleet = Fleet(database, {rows.CLOUD: cloud}, probe=probe, config=config)
    await fleet.start()
    stack.push_async_callback(fleet.aclose)
    await stack.enter_async_context(Directory(database))
    return fleet, database, cloud


@asynccontextmanager
async def _worker() -> AsyncIterator[Address]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS)
        with suppress(ConnectionError):
            await reader.read(100)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname())
    finally:
        server.close()


async def _run(url: str, what: str, *numbers: str) -> None:
    async with AsyncExitStack() as stack:
        if what == "rest":
            said = await _rest(stack, url, float(numbers[0]))
        elif what == "wake":
            said = await _wake(stack, url, *map(int, numbers))
        else:
            said = await _failover(stack, url, Path(numbers[0]), *map(int, numbers[1:]))
        print(json.dumps(said), flush=True)


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """This module, as a process of its own."""
    here = Path(__file__).parents[1]
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleetbench.process", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": f"{here}:{here.parent / 'kit'}"},
        limit=1 << 24,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def said(by: asyncio.subprocess.Process) -> str:
    assert by.stdout is not None
    line = (await by.stdout.readline()).decode()
    if not line:
        raise RuntimeError("a process of the benchmark has ended without a word")
    return line


if __name__ == "__main__":
    uvloop.run(_run(*sys.argv[1:]))
