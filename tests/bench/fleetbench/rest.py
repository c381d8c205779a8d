"""A fleet at rest, as it was and as it is, in one run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
from fleetbench import rows
from fleetbench.databases import made
from fleetbench.duty import Measured, measure
from fleetbench.listeners import listening
from fleetbench.meter import Cost, Meter
from fleetbench.new import NewFleet
from fleetbench.old import MIGRATIONS, OldFleet

PROCESSES = 200
OLD, NEW = "old", "new"
SIZES = (1_000, 5_000, 20_000, 100_000)
# What Postgres does by itself now and then is a duty too: else it falls upon any of the others
SETTINGS = {
    "max_connections": "400",
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
    "autovacuum": "off",
}


@dataclass(frozen=True)
class Rest:
    """What a fleet of so many satellites costs while nobody builds."""

    satellites: int
    duties: list[Measured]

    @property
    def cost(self) -> Cost:
        """In a second."""
        return sum((each.cost for each in self.duties), Cost())


Grown = dict[str, list[Rest]]


async def measure_rest(server: str, short: bool) -> Grown:
    found: Grown = {OLD: [], NEW: []}
    for satellites in (SIZES[0], SIZES[-1]) if short else SIZES:
        for version, rests in found.items():
            rest = await _measured(server, version, satellites, 100 if short else 200)
            rests.append(rest)
            print(
                f"{version}, {satellites:,} satellites: {rest.cost.cpu:.3f} cores,"
                f" {rest.cost.wal / 1e3:,.0f} KB/s",
                flush=True,
            )
    return found


async def _measured(server: str, version: str, satellites: int, most: int) -> Rest:
    async with AsyncExitStack() as stack:
        newest = MIGRATIONS if version == OLD else None
        database = await stack.enter_async_context(made(server, newest=newest))
        await rows.fill(database, satellites)
        machines = await rows.machines(database)
        fleet: OldFleet | NewFleet
        if version == OLD:
            pool = await stack.enter_async_context(
                asyncpg.create_pool(database.url, min_size=0, max_size=5)
            )
            fleet = OldFleet(pool, satellites, machines)
        else:
            fleet = NewFleet(database, satellites, machines)
        await fleet.start(PROCESSES)
        await stack.enter_async_context(listening(database.url, PROCESSES))
        meter = await Meter.of(database)
        return Rest(satellites, await measure(fleet.duties, meter, PROCESSES, most))
