"""Processes as they are: their connections and turns at rest, and 500 wakes at once."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

from fleetbench import rows
from fleetbench.databases import made
from fleetbench.meter import Cost, Meter
from fleetbench.new import NewFleet
from fleetbench.process import process, said

from torpor_statemachine.postgres.pool import Database

OTHERS = 199  # processes that live, as rows
_CONNECTIONS = """
select count(*) from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> all($1)
"""
_OURS = """
select array_agg(pid) from pg_stat_activity
where datname = current_database() and backend_type = 'client backend'
"""
SHARES = 3
WAKES = 500


@dataclass(frozen=True)
class AtRest:
    """Of one process: connections, seconds of CPU of its longest turn, statements a second."""

    satellites: int
    connections: int
    most_connections: int
    turn: float
    statements: float


async def measure_at_rest(server: str, satellites: int, seconds: float) -> AtRest:
    """One process among 200, while another's hour is worth of theirs."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(made(server))
        await rows.fill(database, satellites)
        await NewFleet(database, satellites, {}).start(OTHERS)
        pids = await _ours(database)
        child = await stack.enter_async_context(process(database.url, "rest", str(seconds)))
        line = asyncio.ensure_future(said(child))
        counts: list[int] = []
        while not line.done():
            counts.append(await database.fetchval(_CONNECTIONS, pids))
            await asyncio.wait((line,), timeout=0.5)
        told = json.loads(await line)
        last = counts[-max(3, len(counts) // 5) : -1]
        return AtRest(
            satellites, round(median(last)), max(counts), told["turn"], told["statements"]
        )


async def _ours(database: Database) -> list[int]:
    pids: list[int] = await database.fetchval(_OURS)
    return pids


@dataclass(frozen=True)
class Burst:
    """`took`: seconds from each request to the call that starts its machine."""

    took: list[float]
    postgres: Cost
    processes: float  # seconds of CPU


async def measure_burst(server: str, wakes: int = WAKES) -> Burst:
    """So many wakes at once through a few processes; machines take 1 to 5 seconds."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(made(server))
        await rows.fill(database, wakes)
        await database.execute(rows.ALL_SLEEP)
        children = [
            await stack.enter_async_context(process(database.url, "wake", str(n), str(SHARES)))
            for n in range(SHARES)
        ]
        for child in children:
            assert (await said(child)).strip() == "ready"
        meter = await Meter.of(database)
        before = await meter.read()
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"go\n")
        told = [json.loads(await said(child)) for child in children]
        spent = await meter.read() - before
        took = sorted(each for one in told for each in one["took"])
        return Burst(took, spent, sum(one["cpu"] for one in told))
