"""What a transition costs Postgres when so many processes listen."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

from fleetbench import rows
from fleetbench.databases import made
from fleetbench.listeners import listening
from fleetbench.meter import Cost, Meter

from torpor_provisioner.contract import Address, SleepKind
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.queries import Queries
from torpor_statemachine.store.transitions import Transitions

LISTENERS = (0, 50, 200)
AT_ONCE = 4


@dataclass(frozen=True)
class Notified:
    """A transition's `cost`, and how many a second Postgres and one client did at most."""

    listeners: int
    cost: Cost
    most: float


async def measure_notify(server: str, short: bool) -> list[Notified]:
    found = []
    for listeners in LISTENERS:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(made(server))
            await rows.fill(database, 1_000)
            await stack.enter_async_context(listening(database.url, listeners))
            found.append(await _measured(database, listeners, 200 if short else 1_000))
            print(f"{listeners} listen: {found[-1].cost.cpu * 1e3:.2f} ms a transition", flush=True)
    return found


async def _measured(database: Database, listeners: int, each: int) -> Notified:
    asleep = await database.fetch("select id from satellites where state = 'asleep' limit 100")
    queries = Queries(database)
    transitions = Transitions(database, FleetConfig(), uuid4())
    meter = await Meter.of(database)

    async def move(satellite: Satellite) -> None:
        by = transitions.by("bench", "it is measured")
        if satellite.state is State.ASLEEP:
            address = Address("10.0.0.1", 1)
            assert await transitions.found_at(satellite, by, Event.FOUND_RUNNING, address)
        else:
            assert await transitions.found_asleep(satellite, by, SleepKind.STOPPED, "")

    async def some(n: int) -> None:
        for turn in range(each // AT_ONCE):
            place = (n + turn * AT_ONCE) % len(asleep)
            satellite = await queries.by_id(asleep[place]["id"])
            assert satellite is not None
            await move(satellite)

    before, since = await meter.read(), time.perf_counter()
    await asyncio.gather(*map(some, range(AT_ONCE)))
    took = time.perf_counter() - since
    await asyncio.sleep(0.5)  # what is yet to be delivered
    return Notified(listeners, (await meter.read() - before) * (1 / each), each / took)
