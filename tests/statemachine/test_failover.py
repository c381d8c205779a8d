"""A failover to an asynchronous standby of Debian's Postgres, which lacks the last commits."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from fleetkit.cloud import Machine
from fleetkit.world import QUICK, World
from pgkit.servers import Server, needs_postgres
from pgkit.wire import Wire
from waiting import until

from torpor_provisioner.contract import Address, MachineState
from torpor_statemachine import clock
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database, DatabaseAway

BUDGET = 60.0
BY_HAND = replace(QUICK, reconcile=3600.0, orphans=3600.0)


@dataclass
class Pair:
    """A primary, a standby that follows it, and one name for whichever is in charge."""

    primary: Server
    standby: Server
    wire: Wire
    world: World

    async def part(self) -> None:
        """What is committed from now on will be lost."""
        await self.primary.caught_up(self.standby)
        await self.standby.hear_no_more()

    async def fail_over(self, *then: str) -> None:
        """`then`: what is to be true of the standby when it is asked for the first time."""
        await self.primary.kill()
        await self.wire.cut()
        await self.standby.promote()
        for statement in then:
            await self.standby.execute(statement)
        self.wire.lead_to(self.standby.url)
        await self.wire.mend()

    async def asked(self, sql: str) -> object:
        async with asyncio.timeout(BUDGET):
            while True:
                try:
                    return await self.world.database.fetchval(sql)
                except DatabaseAway:
                    await asyncio.sleep(0.1)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        primary = await enter(Server.made())
        await migrate(primary.url)
        standby = await enter(primary.standby())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="torpor-"))
        wire = await enter(Wire.laid(primary.url, Path(folder)))
        world = World(await enter(Database(wire.url)), wire.url, stack)
        await world.database.execute(
            "insert into orgs (id, name) values ($1, 'acme')", world.org_id
        )
        yield Pair(primary, standby, wire, world)


@needs_postgres
async def test_a_lease_that_was_lost_is_taken_again(pair: Pair) -> None:
    """Else its build, of an hour perhaps, is cut at the end of `sleep_after`."""
    fleet, other = await pair.world.node(), await pair.world.node()
    satellite = await pair.world.launched(other)
    await pair.part()
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told: list[Departure] = []
    fleet.on_sleep(told.append)
    await pair.fail_over()
    assert await pair.asked("select idle_since is not null from satellites")  # it was lost
    await until(lambda: _leased(pair))
    assert await pair.asked("select idle_since is null from satellites")
    assert not told
    fleet.leave(satellite.id)


@needs_postgres
async def test_a_wake_that_was_lost_cuts_no_stream_and_costs_no_second_start(pair: Pair) -> None:
    fleet = await pair.world.node()
    satellite = await pair.world.asleep(fleet)
    await pair.part()
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told: list[Departure] = []
    fleet.on_sleep(told.append)
    await pair.fail_over()
    await until(lambda: _leased(pair))
    await pair.world.reaches(fleet, satellite.id, State.RUNNING)
    [machine] = pair.world.cloud.machines.values()
    assert machine.state is MachineState.RUNNING
    assert (pair.world.cloud.count("wake"), pair.world.cloud.count("sleep")) == (1, 1)
    assert not told
    fleet.leave(satellite.id)


@needs_postgres
async def test_where_a_machine_ran_before_its_lost_moves_no_request_goes(pair: Pair) -> None:
    """It slept, came up elsewhere, and another machine has got its address: all of that is lost."""
    world = pair.world
    fleet = await world.node()
    satellite = await world.launched(fleet)
    assert satellite.address is not None
    await pair.part()
    mine = world.cloud.machines[satellite.ref]
    await fleet.sleep(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    world.cloud.machines["other"] = Machine(uuid4(), 1, "other", mine.address)
    mine.address = Address("elsewhere", 7)
    await fleet.wake(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.RUNNING)
    observed = world.cloud.entered["observe"]
    await pair.fail_over()
    believed = await pair.asked("select state || ' ' || host from satellites")
    assert believed == f"running {satellite.address.host}"
    looked = await fleet.running(satellite.id)
    assert looked is None or looked.address == mine.address
    admitted = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    assert admitted.address == mine.address
    assert world.cloud.entered["observe"] > observed
    fleet.leave(satellite.id)


@needs_postgres
async def test_a_machine_that_a_failover_has_not_moved_is_looked_at_once(pair: Pair) -> None:
    world = pair.world
    nodes = [await world.node(BY_HAND) for _ in range(2)]
    satellite = await world.launched(nodes[0])
    await pair.part()
    await pair.fail_over()
    await pair.asked("select 1")
    observed = world.cloud.entered["observe"]
    for node in nodes:
        admitted = await node.admit(satellite.id, actor="x", budget=BUDGET)
        assert admitted.address == satellite.address
    assert world.cloud.entered["observe"] == observed + 1
    for node in nodes:
        node.leave(satellite.id)


@needs_postgres
async def test_a_node_dies_between_the_call_and_its_completion_and_both_are_lost(
    pair: Pair,
) -> None:
    """The claim is lost too: no node is left to go on; the next request finds the machine up."""
    world = pair.world
    dying, other = await world.node(), await world.node()
    satellite = await world.asleep(other)
    await pair.part()
    gate = world.cloud.hold_after("wake")
    await dying.wake(satellite.id, actor="x")
    await world.entered("wake")
    await until(lambda: world.cloud.count("wake") == 1)
    await world.crash(dying)
    await pair.fail_over()
    gate.set()
    await other.admit(satellite.id, actor="x", budget=BUDGET)
    [machine] = world.cloud.machines.values()
    assert machine.state is MachineState.RUNNING
    assert (world.cloud.count("wake"), world.cloud.count("sleep")) == (1, 1)
    other.leave(satellite.id)


@needs_postgres
async def test_a_forced_sleep_that_is_lost_while_it_is_under_way(pair: Pair) -> None:
    """Its call is given up with its claim; the streams were told, and new ones are let in."""
    world = pair.world
    fleet, other = await world.node(), await world.node()
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told: list[Departure] = []
    fleet.on_sleep(told.append)
    await pair.part()
    gate = world.cloud.hold("sleep")
    await other.sleep(satellite.id, actor="somebody", force=True)
    await world.entered("sleep")
    await until(lambda: any(each.why is not None for each in told))
    fleet.leave(satellite.id)
    await pair.fail_over()
    await until(lambda: world.cloud.called_off["sleep"])
    gate.set()
    await other.admit(satellite.id, actor="x", budget=BUDGET)
    [machine] = world.cloud.machines.values()
    assert machine.state is MachineState.RUNNING
    assert world.cloud.count("sleep") == 0
    other.leave(satellite.id)


@needs_postgres
async def test_a_sleep_that_was_lost_is_found_out(pair: Pair) -> None:
    """The database says that it runs, and it does not: it is woken for the next request."""
    fleet = await pair.world.node()
    satellite = await pair.world.launched(fleet)
    await pair.part()
    await fleet.sleep(satellite.id, actor="x")
    await pair.world.reaches(fleet, satellite.id, State.ASLEEP)
    await pair.fail_over()
    await pair.asked("select true")
    await pair.world.reaches(fleet, satellite.id, State.ASLEEP)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    assert pair.world.cloud.count("wake") == 1


@needs_postgres
async def test_a_lease_that_was_lost_is_missed_before_its_satellite_is_put_to_sleep(
    pair: Pair,
) -> None:
    """However soon it is due by what the standby has."""
    fleet, other = await pair.world.node(), await pair.world.node()
    satellite = await pair.world.launched(other)
    await pair.part()
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await pair.fail_over("update satellites set sleep_due = now()")
    await until(lambda: _leased(pair))
    assert pair.world.cloud.count("sleep") == 0
    fleet.leave(satellite.id)


@pytest.mark.parametrize("called", [True, False], ids=["called", "not yet called"])
async def test_a_sleep_that_is_long_over_is_not_done_again_under_a_stream(
    world: World, called: bool
) -> None:
    """The standby knows of the sleep, and of nothing since: that it was over, and the wake."""
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told: list[Departure] = []
    fleet.on_sleep(told.append)
    await world.database.execute(
        """
        with lost as (delete from leases), told as (delete from transitions where epoch >= $1)
        update satellites set epoch = $1, state = 'sleeping', claimed_by = $2, sleep_called = $3,
            claim_deadline = now() + interval '9 minutes', idle_since = null, sleep_due = null
        """,
        satellite.epoch,
        uuid4(),  # the node is dead
        called,
    )
    fleet._node._served_since = clock.now()  # as if it were another server
    await world.reaches(fleet, satellite.id, State.RUNNING)
    await until(lambda: world.database.fetchval("select exists (select from leases)"))
    assert (world.cloud.count("wake"), world.cloud.count("sleep")) == (1, 1)
    assert not told
    fleet.leave(satellite.id)


async def test_a_stream_from_before_epochs_were_lost_hears_of_a_forced_sleep(world: World) -> None:
    """Its lease was of a later epoch than the one in which it ends."""
    fleet, other = await world.node(), await world.node()
    satellite = await world.asleep(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told: list[Departure] = []
    fleet.on_sleep(told.append)
    await world.database.execute(
        """
        with lost as (delete from leases), told as (delete from transitions where epoch >= $1)
        update satellites set epoch = $1, idle_since = now(), sleep_due = now() + interval '1h'
        """,
        satellite.epoch - 1,
    )
    await until(lambda: world.database.fetchval("select exists (select from leases)"))
    await other.sleep(satellite.id, actor="somebody", force=True)
    await until(lambda: any(departure.why is not None for departure in told))
    fleet.leave(satellite.id)


async def test_a_claim_after_epochs_were_lost_is_carried_out(world: World) -> None:
    """It has a lower epoch than the work that its node is still at."""
    fleet = await world.node(replace(QUICK, claims_live=600.0, leases_live=600.0, heartbeat=300.0))
    satellite = await world.asleep(fleet)
    before = satellite.epoch
    await world.database.execute("update satellites set epoch = epoch + 10")
    world.cloud.hold("wake")
    await fleet.wake(satellite.id, actor="x")
    await world.entered("wake")
    await world.database.execute(
        """update satellites set epoch = $1, state = 'asleep', claimed_by = null,
            claim_deadline = null""",
        before,
    )
    world.cloud.gates.clear()
    await fleet.wake(satellite.id, actor="x")
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert running.epoch == before + 1


async def _leased(pair: Pair) -> bool:
    return bool(await pair.asked("select exists (select from leases)"))
