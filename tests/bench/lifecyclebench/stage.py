"""A Postgres as it comes, machines that start at once, and nodes over them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind
from torpor_router.probe import answers
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database

BUDGET = 60.0
# Nothing but what is measured asks the database anything
QUIET = FleetConfig(
    heartbeat=1_000.0,
    claims_live=4_000.0,
    leases_live=9_000.0,
    reap=1e5,
    reap_batch=100,
    poll=1e4,
    reconcile=1e5,
)


class Machines:
    """A cloud in memory: what is told to start runs at once; `wakes` are the moments of calls."""

    def __init__(self) -> None:
        self.wakes: dict[str, list[float]] = {}
        self.boot: dict[str, Callable[[], Awaitable[None]]] = {}
        self.calls: Counter[str] = Counter()
        self._states: dict[str, MachineState] = {}
        self._booting: set[asyncio.Future[None]] = set()

    async def wake(self, ref: str) -> None:
        self.wakes.setdefault(ref, []).append(time.perf_counter())
        self.calls["wake"] += 1
        self._states[ref] = MachineState.RUNNING
        if ref in self.boot:
            task = asyncio.ensure_future(self.boot[ref]())
            self._booting.add(task)
            task.add_done_callback(self._booting.discard)

    async def sleep(self, ref: str, how: SleepKind) -> None:
        self.calls["sleep"] += 1
        self._states[ref] = MachineState.ASLEEP

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        return {ref: Observed(self._states.get(ref, MachineState.ASLEEP)) for ref in refs}

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        return {}

    async def launch(self, spec: Any, token: str) -> str:
        raise NotImplementedError

    async def terminate(self, ref: str) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


class Bench:
    """A Postgres as it comes, and what is built on it."""

    def __init__(self, server: str, stack: AsyncExitStack, *, short: bool) -> None:
        self.short = short
        self.machines = Machines()
        self._server = server
        self._stack = stack

    async def database(self) -> Database:
        """An empty one of its own, migrated; those before it go to rest."""
        name = f"bench_{uuid4().hex[:8]}"
        async with Database(self._server) as server:
            await server.execute(f"create database {name}")
        url = self._server.replace("/postgres?", f"/{name}?")
        await migrate(url)
        return await self._stack.enter_async_context(Database(url))

    @asynccontextmanager
    async def nodes(
        self, on: Database, number: int, config: FleetConfig, probe: Any = answers
    ) -> AsyncIterator[list[tuple[Fleet, Database]]]:
        async with AsyncExitStack() as stack:
            made = []
            for _ in range(number):
                database = await stack.enter_async_context(Database(on.url))
                fleet = Fleet(database, {"bench": self.machines}, probe=probe, config=config)
                await fleet.start()
                stack.push_async_callback(fleet.aclose)
                made.append((fleet, database))
            await asyncio.sleep(0.2)  # their listeners connect
            yield made

    async def satellites(
        self, on: Database, number: int, *, idle: int = 0, address: Address | None = None
    ) -> list[UUID]:
        """So many asleep; of those that run (if `idle` is given) so many are due to sleep."""
        await on.execute("insert into orgs (name) values ('acme') on conflict do nothing")
        host, port = address or Address("127.0.0.1", 1)
        rows = await on.fetch(
            """
            insert into satellites (org_id, name, provisioner, arch, state, ref, host, port,
                sleep_kind, idle_since, sleep_due, checked_at)
            select orgs.id, 'n' || n, 'bench', 'x86_64',
                case when $2 > 0 then 'running' else 'asleep' end, 'm-' || n, $3, $4,
                case when $2 > 0 then null else 'hibernated' end,
                case when $2 > 0 then now() - interval '1 hour' end,
                case when n <= $2 then now() - interval '1 minute'
                     when $2 > 0 then now() + interval '1 hour' end,
                now() + interval '1 day'
            from orgs, generate_series(1, $1) n returning id
            """,
            *(number, idle, host, port),
        )
        await on.execute("analyze")
        return [row["id"] for row in rows]


async def always(address: Address, timeout: float) -> bool:
    return True
