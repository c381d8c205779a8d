"""A pass of the reaper over few satellites and over many, a hundred of them idle."""

from __future__ import annotations

import asyncio
import statistics
import time

from fleetkit.world import believe_server
from lifecyclebench.rows import Row, ms
from lifecyclebench.stage import QUIET, Bench, always

from torpor_statemachine.postgres.pool import Database


async def reaping(bench: Bench) -> list[Row]:
    small, large = await _reap(bench, 1_000), await _reap(bench, 100_000)
    text = f"{ms(large)}; {ms(small)} with 1,000"
    return [
        Row("a reaper's pass over 100,000 satellites, 100 idle", "50 ms", text, large <= 0.05),
        Row(
            "the same against 1,000 satellites",
            "flat",
            f"{large / small:.2f} times",
            large <= 1.5 * small + 2e-3,
        ),
    ]


async def _reap(bench: Bench, number: int) -> float:
    """The median of passes that find and claim 100; what is claimed is put back in between."""
    took = []
    database = await bench.database()
    await bench.satellites(database, number, idle=100)
    async with bench.nodes(database, 1, QUIET, always) as [(fleet, _)]:
        await believe_server(fleet)
        for _ in range(3 if bench.short else 9):
            since = time.perf_counter()
            claimed = await fleet._reaper.reap()
            took.append(time.perf_counter() - since)
            assert claimed == 100, claimed
            await _put_back(database)
    return statistics.median(took)


async def _put_back(database: Database) -> None:
    while await database.fetchval("select count(*) from satellites where claimed_by is not null"):
        await asyncio.sleep(0.05)
    await database.execute(
        """
        update satellites set state = 'running', sleep_kind = null,
            idle_since = now() - interval '1 hour', sleep_due = now() - interval '1 minute'
        where state = 'asleep'
        """
    )
    await database.execute("vacuum analyze satellites")
