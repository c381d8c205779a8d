"""Several nodes over one real Postgres and one cloud, and what can befall them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from fleetkit.cloud import Cloud
from waiting import LONG, until

from torpor_provisioner.contract import Arch, Provisioner
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.specs import NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State
from torpor_statemachine.postgres.pool import Database

QUICK = FleetConfig(
    heartbeat=0.3,
    claims_live=2.5,
    leases_live=8.0,
    safety=0.5,
    poll=0.2,
    probe=0.01,
    first_look=0.01,
    longest_look=0.05,
    patience=0.3,
    first_retry=0.02,
    longest_retry=0.1,
    shortest_wake=20.0,
    farewell=0.0,
    linger=0.1,
    after_wake=1.0,
    reap=0.1,
    first_back_off=0.2,
    longest_back_off=0.4,
    reconcile=0.5,
    cloud_lag=0.0,
    orphans=0.4,
)

T = TypeVar("T")


class World:
    """Several nodes over one database and one cloud."""

    def __init__(self, database: Database, url: str, stack: AsyncExitStack) -> None:
        self.database = database
        self.url = url
        self.cloud = Cloud()
        self.org_id = uuid4()
        self._stack = stack

    # --- Nodes

    async def node(
        self,
        config: FleetConfig = QUICK,
        *,
        provisioner: Provisioner | None = None,
        kind: type[Database] = Database,
        url: str | None = None,
        observer: Any = None,
        stack: AsyncExitStack | None = None,
        folder: Path | None = None,
        **options: Any,
    ) -> Fleet:
        stack = stack or self._stack
        database = await stack.enter_async_context(kind(url or self.url, **options))
        fleet = Fleet(
            database,
            {"cloud": provisioner or self.cloud},
            probe=self.cloud.probe,
            identify=self.cloud.identify,
            config=config,
            observer=observer,
            folder=folder,
        )
        await fleet.start()
        stack.push_async_callback(fleet.aclose)
        return fleet

    async def apart(self, config: FleetConfig = QUICK) -> Apart:
        """A node on a thread of its own, which can be paused as SIGSTOP does."""
        node = Apart()
        self._stack.push_async_callback(node.end)
        await node.start(lambda stack: self.node(config, stack=stack))
        return node

    async def crash(self, fleet: Fleet) -> None:
        """It ends in mid-sentence, and tells nobody. Its time is over at once."""
        await self.kill(fleet)
        await self.database.execute(
            "update nodes set expires_at = now() where id = $1", fleet.node_id
        )

    async def kill(self, fleet: Fleet) -> None:
        """It ends in mid-sentence, and tells nobody."""
        await fleet._database.aclose()
        await fleet.aclose()

    # --- Satellites

    async def launched(
        self,
        fleet: Fleet,
        name: str = "one",
        *,
        sleep_after: float = 3600,
        arch: Arch = Arch.X86_64,
        mode: SleepMode = SleepMode.AUTO,
    ) -> Satellite:
        new = NewSatellite(
            org_id=self.org_id,
            name=name,
            provisioner="cloud",
            arch=arch,
            sleep_mode=mode,
            sleep_after=timedelta(seconds=sleep_after),
        )
        satellite = await fleet.launch(new, actor="test")
        return await self.reaches(fleet, satellite.id, State.RUNNING)

    async def asleep(self, fleet: Fleet, name: str = "one", **how: Any) -> Satellite:
        satellite = await self.launched(fleet, name, **how)
        await fleet.sleep(satellite.id, actor="test")
        return await self.reaches(fleet, satellite.id, State.ASLEEP)

    async def reaches(self, fleet: Fleet, satellite_id: UUID, *states: State) -> Satellite:
        async with asyncio.timeout(LONG):
            async for satellite in fleet.follow(satellite_id):
                if satellite.state in states:
                    return satellite
        raise AssertionError(f"it was terminated before it was {states}")

    async def now(self, fleet: Fleet, name: str = "one") -> Satellite:
        found = await fleet.find(self.org_id, name)
        assert found is not None
        return found

    async def log(self, fleet: Fleet, satellite_id: UUID) -> list[Transition]:
        return list(reversed(await fleet.history(satellite_id, 1000)))

    async def events(self, fleet: Fleet, satellite_id: UUID) -> list[str]:
        return [step.event for step in await self.log(fleet, satellite_id)]

    async def entered(self, call: str, times: int = 1) -> None:
        """That many calls of that name have come to the cloud."""
        await until(lambda: self.cloud.entered.get(call, 0) >= times)


class Steps:
    """A database whose clock can be set: `now()` of who connects from here on is another one."""

    @classmethod
    async def made(cls, database: Database) -> Steps:
        name = await database.fetchval("select current_database()")
        for statement in (
            "create schema steps",
            "create table steps.ahead (by interval not null)",
            "insert into steps.ahead values ('0')",
            """create function steps.now() returns timestamptz stable language sql as
            $$ select pg_catalog.now() + (select by from steps.ahead) $$""",
            f'alter database "{name}" set search_path = steps, public, pg_catalog',
        ):
            await database.execute(statement)
        return cls(database)

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, seconds: float) -> None:
        by = timedelta(seconds=seconds)
        await self._database.execute("update steps.ahead set by = $1", by)


async def believe_server(fleet: Fleet) -> None:
    """Its server has answered for long: nothing that a failover lost is to be found out."""
    await fleet._node.beat()
    fleet._node._served_since = float("-inf")


class Apart:
    """A node with a loop and a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="node apart")
        self._thread.start()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._stack = AsyncExitStack()
        self.fleet: Fleet

    async def start(self, make: Callable[[AsyncExitStack], Awaitable[Fleet]]) -> None:
        self.fleet = await self.do(lambda: make(self._stack))

    async def do(self, what: Callable[[], Awaitable[T]]) -> T:
        """Run it on the node's own loop."""

        async def run() -> T:
            return await what()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), self._loop))

    async def pause(self) -> None:
        """Not one step more, until `resume`."""
        stands = threading.Event()

        def stand() -> None:
            stands.set()
            self._goes_on.wait(LONG)

        self._goes_on.clear()
        self._loop.call_soon_threadsafe(stand)
        await asyncio.to_thread(stands.wait)

    def resume(self) -> None:
        self._goes_on.set()

    async def end(self) -> None:
        self._goes_on.set()
        await self.do(self._stack.aclose)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
