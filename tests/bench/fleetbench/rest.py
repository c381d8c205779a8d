"""A fleet at rest, as it was and as it is, in one run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from fleetbench import rows
from fleetbench.databases import made
from fleetbench.duty import Measured, measure
from fleetbench.listeners import listening
from fleetbench.meter import Cost, Meter
from fleetbench.new import NewFleet
from fleetbench.old import MIGRATIONS, OldFleet

from torpor_statemachine.postgres.embedded import EmbeddedPostgres

PROCESSES = 200
SIZES = (1_000, 3_162, 10_000, 31_623, 100_000)
# Pages are written whole after each checkpoint; how often that is, is the operator's
SETTINGS = {"max_connections": "400", "checkpoint_timeout": "1h", "max_wal_size": "8GB"}


@dataclass(frozen=True)
class Rest:
    """What a fleet of so many satellites costs while nobody builds."""

    satellites: int
    duties: list[Measured]

    @property
    def cost(self) -> Cost:
        """In a second."""
        return sum((each.cost for each in self.duties), Cost())


async def measure_rest(folder: Path, short: bool) -> dict[str, list[Rest]]:
    found: dict[str, list[Rest]] = {"old": [], "new": []}
    async with EmbeddedPostgres(folder / "postgres", settings=SETTINGS).running() as server:
        for satellites in SIZES[::4] if short else SIZES:
            for version, those in found.items():
                rest = await _measured(server, version, satellites, 100 if short else 400)
                those.append(rest)
                print(
                    f"{version} {satellites}: {rest.cost.cpu:.3f} cores,"
                    f" {rest.cost.wal / 1024:.0f} KiB/s",
                    flush=True,
                )
                for each in rest.duties:
                    print(
                        f"    {each.duty.name:22} {each.duty.rate:7.1f}/s"
                        f" {each.each.cpu * 1e3:8.3f} ms {each.each.wal:9.0f} B ="
                        f" {each.cost.cpu:.3f} cores {each.cost.wal / 1024:.0f} KiB/s"
                    )
    return found


async def _measured(server: str, version: str, satellites: int, most: int) -> Rest:
    async with AsyncExitStack() as stack:
        database = await made(server, stack, newest=MIGRATIONS if version == "old" else None)
        await rows.fill(database, satellites)
        machines = await rows.machines(database)
        fleet: OldFleet | NewFleet
        if version == "old":
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
