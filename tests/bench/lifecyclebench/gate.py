"""What is measured at the gate: the hot path, first calls, crowds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from lifecyclebench.rows import Row, at, ms
from lifecyclebench.stage import BUDGET, QUIET, Bench, always

from torpor_provisioner.contract import Address
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.fleet import Fleet

# --- Queries of the hot path


async def hot_path(bench: Bench) -> list[Row]:
    streams = 10_000
    database = await bench.database()
    [satellite] = await bench.satellites(database, 1)
    async with bench.nodes(database, 1, QUIET, always) as [(fleet, used)]:
        await fleet.admit(satellite, actor="bench", budget=BUDGET)
        before, since = used.queries, time.perf_counter()
        for _ in range(streams):
            assert fleet.enter(satellite) is not None
            fleet.leave(satellite)
        each = (time.perf_counter() - since) / streams
        await asyncio.sleep(0.1)  # whatever was begun meanwhile
        asked = used.queries - before
    measured = f"{asked} for {streams:,} streams; {each * 1e6:.2f} µs a stream"
    return [Row("queries of streams to a running satellite", "0", measured, asked == 0)]


# --- From the first request to the start call


async def first_calls(bench: Bench) -> list[Row]:
    """In turn with a bare round trip and a bare commit, so that all meet the same disturbances."""
    number = 50 if bench.short else 400
    database = await bench.database()
    satellites = await bench.satellites(database, number)
    await database.execute("create table bare (at timestamptz)")
    took, trips, commits = [], [], []
    async with bench.nodes(database, 1, FleetConfig(), always) as [(fleet, used)]:
        for n, satellite in enumerate(satellites, 1):
            trips.append(await _lasts(used.fetchval("select 1")))
            commits.append(await _lasts(used.execute("insert into bare values (now())")))
            since = time.perf_counter()
            await fleet.admit(satellite, actor="bench", budget=BUDGET)
            fleet.leave(satellite)
            took.append(bench.machines.wakes[f"m-{n}"][0] - since)
            await asyncio.sleep(0.01)  # the end of this wake is not part of the next
    return [_first(took, trips, commits, share, bar) for share, bar in ((0.5, 5e-3), (0.99, 2e-2))]


def _first(
    took: list[float], trips: list[float], commits: list[float], share: float, bar: float
) -> Row:
    mine, trip, commit = (at(values, share) for values in (took, trips, commits))
    measured = f"{ms(mine)}; a bare `select 1` {ms(trip)}, a bare commit {ms(commit)}"
    what = f"first request to start call, p{share * 100:.0f}"
    return Row(what, f"{bar * 1e3:.0f} ms", measured, mine <= bar)


async def _lasts(query: Awaitable[Any]) -> float:
    since = time.perf_counter()
    await query
    return time.perf_counter() - since


# --- A thousand requests


async def crowds(bench: Bench) -> list[Row]:
    few, many = await _crowd(bench, 10), await _crowd(bench, 1_000)
    queries = f"{many.queries} a node for 1,000, {few.queries} for 10"
    # Who hears a moment later looks once more; a crowd must not make more than that of it
    flat = max(many.queries) <= max(few.queries) + 2
    return [
        Row("start calls for 1,000 requests on 4 nodes", "1", str(many.starts), many.starts == 1),
        Row(
            "from their first release to their last",
            "250 ms",
            ms(many.spread),
            many.spread <= 0.25,
        ),
        Row("their queries", "as for 10", queries, flat),
    ]


@dataclass(frozen=True)
class Crowd:
    starts: int
    spread: float
    queries: list[int]


async def _crowd(bench: Bench, requests: int) -> Crowd:
    database = await bench.database()
    bench.machines.wakes.clear()
    [satellite] = await bench.satellites(database, 1)
    bench.machines.boot.clear()
    awake = time.perf_counter() + 1.0

    async def probe(address: Address, timeout: float) -> bool:
        return time.perf_counter() > awake

    async with bench.nodes(database, 4, QUIET, probe) as nodes:
        before = [used.queries for _, used in nodes]

        async def ask(fleet: Fleet) -> float:
            await fleet.admit(satellite, actor="bench", budget=BUDGET)
            return time.perf_counter()

        fleets = [fleet for fleet, _ in nodes]
        released = await asyncio.gather(*(ask(fleets[n % 4]) for n in range(requests)))
        queries = [used.queries - was for (_, used), was in zip(nodes, before, strict=True)]
    starts = sum(map(len, bench.machines.wakes.values()))
    return Crowd(starts, max(released) - min(released), queries)
