"""Machines that no row knows: ended when seen twice, adopted, or left to an operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from fleetkit.cloud import Machine
from fleetkit.rounds import BY_HAND, check
from fleetkit.world import World
from waiting import until

from torpor_provisioner.contract import Address, Arch, MachineState, SleepKind
from torpor_provisioner.errors import Denied, NotReady
from torpor_statemachine.errors import NameTaken, StrayOfSatellite, UnknownStray
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.duties import Duties
from torpor_statemachine.store.strays import Strays
from torpor_statemachine.upkeep import orphans

BUDGET = 60.0


def _orphan(world: World, ref: str = "stray", owner: Any = None, generation: int = 1) -> Machine:
    machine = Machine(owner or uuid4(), generation, ref, Address("cloud", 99))
    world.cloud.machines[ref] = machine
    return machine


async def _grown_old(world: World) -> None:
    await world.database.execute("update orphans set first_seen = now() - interval '1 day'")


async def test_an_orphan_is_ended_when_it_is_seen_twice(world: World) -> None:
    nodes = [await world.node(BY_HAND) for _ in range(2)]
    satellite = await world.launched(nodes[0])
    machine = _orphan(world, owner=satellite.id, generation=0)
    for node in nodes:  # at once is not twice
        await node._reconciler.end_orphans()
    assert machine.state is MachineState.RUNNING
    await _grown_old(world)
    await nodes[1]._reconciler.end_orphans()
    assert machine.state is MachineState.GONE
    await nodes[0]._reconciler.end_orphans()
    assert await world.database.fetchval("select count(*) from orphans") == 0


async def test_an_orphan_that_cannot_be_ended_keeps_no_other_alive(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    machines = [
        _orphan(world, ref, owner=satellite.id, generation=0) for ref in ("one", "two", "three")
    ]
    await fleet._reconciler.end_orphans()
    await _grown_old(world)
    world.cloud.fail("terminate", NotReady("not yet"), RuntimeError("a fault"))
    await fleet._reconciler.end_orphans()
    states = sorted(machine.state for machine in machines)
    assert states == [MachineState.GONE, MachineState.RUNNING, MachineState.RUNNING]
    assert caplog.text.count("could not be ended: TPR-") == 2
    await fleet._reconciler.end_orphans()
    assert {machine.state for machine in machines} == {MachineState.GONE}


async def test_machines_of_another_database_are_left_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A router that was given the wrong URL must not end the fleet of the right one."""
    fleet = await world.node(BY_HAND)
    machine = _orphan(world)
    for _ in range(2):
        await fleet._reconciler.end_orphans()
        await _grown_old(world)
    assert machine.state is MachineState.RUNNING
    assert caplog.text.count("1 machines of cloud are of satellites that were never in") == 1
    assert "left alone: stray." in caplog.text
    strays = Strays(world.database)
    [stray] = await strays.all()
    assert (stray.provisioner, stray.ref, stray.satellite_id, stray.generation, stray.ending) == (
        *("cloud", "stray", machine.owner, 1, False),
    )
    world.cloud.machines.pop("stray")
    await fleet._reconciler.end_orphans()
    assert await strays.all() == []


async def test_one_node_of_the_fleet_searches_and_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of all machines is asked for once, and no statement has all of it."""
    monkeypatch.setattr(orphans, "PART", 7)
    parts: list[int] = []
    monkeypatch.setattr(Duties, "orphans", _counting(Duties.orphans, parts))
    for n in range(30):
        _orphan(world, f"stray-{n:02}")
    nodes = [await world.node(BY_HAND) for _ in range(3)]
    for _ in range(2):
        await asyncio.gather(*(node._reconciler.orphans_in_turn() for node in nodes))
    assert world.cloud.entered["owned"] == 1
    assert parts == [7, 7, 7, 7, 2]
    assert len(await Strays(world.database).all()) == 30


def _counting(real: Callable[..., Any], parts: list[int]) -> Callable[..., Any]:
    async def counted(self: Duties, name: str, machines: Any, age: float) -> list[str]:
        parts.append(len(machines))
        return await real(self, name, machines, age)

    return counted


async def test_a_search_that_breaks_off_forgets_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "PART", 1)
    fleet = await world.node(BY_HAND)
    for name in ("a", "b"):
        _orphan(world, name)
    await fleet._reconciler.end_orphans()
    real = Duties.orphans

    async def away(self: Duties, name: str, machines: Any, age: float) -> list[str]:
        if "b" in machines:
            raise DatabaseAway("now")
        return await real(self, name, machines, age)

    monkeypatch.setattr(Duties, "orphans", away)
    world.cloud.machines.pop("a")
    with pytest.raises(DatabaseAway):
        await fleet._reconciler.end_orphans()
    assert [each.ref for each in await Strays(world.database).all()] == ["a", "b"]
    monkeypatch.setattr(Duties, "orphans", real)
    await fleet._reconciler.end_orphans()
    assert [each.ref for each in await Strays(world.database).all()] == ["b"]


async def test_a_launch_that_a_failover_lost_is_adopted(world: World) -> None:
    """Its row is gone, its machine runs: it is found by name, and served again."""
    fleet = await world.node(BY_HAND)
    lost = await world.launched(fleet)
    await world.database.execute("delete from satellites")
    await fleet._reconciler.end_orphans()
    strays = Strays(world.database)
    assert [stray.ref for stray in await strays.all()] == [lost.ref]
    assert await strays.adopt(lost.ref, world.org_id, "again", Arch.X86_64) == lost.id
    assert await strays.all() == []
    adopted = await world.now(fleet, "again")
    assert (adopted.id, adopted.generation, adopted.ref) == (lost.id, 1, lost.ref)
    await fleet._reconciler.end_orphans()
    await check(world, fleet)
    running = await world.now(fleet, "again")
    assert (running.state, running.address) == (State.RUNNING, lost.address)
    await fleet.admit(lost.id, actor="x", budget=BUDGET)
    fleet.leave(lost.id)
    assert await world.events(fleet, lost.id) == ["adopted", "found_running"]


async def test_of_two_stray_machines_of_one_satellite_neither_hides_the_other(
    world: World,
) -> None:
    """The older may be adopted; the newer stays known, and can be ended."""
    fleet = await world.node(BY_HAND)
    lost = await world.launched(fleet)
    newer = _orphan(world, "newer", owner=lost.id, generation=2)
    await world.database.execute("delete from satellites")
    await fleet._reconciler.end_orphans()
    strays = Strays(world.database)
    await strays.adopt(lost.ref, world.org_id, "again", Arch.X86_64)
    await fleet._reconciler.end_orphans()
    assert [stray.ref for stray in await strays.all()] == ["newer"]
    with pytest.raises(StrayOfSatellite):
        await strays.adopt("newer", world.org_id, "two", Arch.X86_64)
    await strays.end("newer")
    await fleet._reconciler.end_orphans()
    assert newer.state is MachineState.GONE, newer
    assert world.cloud.machines[lost.ref].state is MachineState.RUNNING


async def test_a_stray_is_ended_if_an_operator_says_so(world: World) -> None:
    fleet = await world.node(BY_HAND)
    machine, kept = _orphan(world), _orphan(world, "kept")
    await fleet._reconciler.end_orphans()
    strays = Strays(world.database)
    await strays.end("stray")
    with pytest.raises(UnknownStray):
        await strays.adopt("stray", world.org_id, "one", Arch.X86_64)
    world.cloud.fail("terminate", NotReady("not yet"))
    await fleet._reconciler.end_orphans()
    assert machine.state is MachineState.RUNNING
    await fleet._reconciler.end_orphans()
    assert (machine.state, kept.state) == (MachineState.GONE, MachineState.RUNNING)
    await fleet._reconciler.end_orphans()
    assert [stray.ref for stray in await strays.all()] == ["kept"]


async def test_what_cannot_be_adopted(world: World) -> None:
    fleet = await world.node(BY_HAND)
    await world.launched(fleet)
    _orphan(world)
    await fleet._reconciler.end_orphans()
    strays = Strays(world.database)
    with pytest.raises(NameTaken):
        await strays.adopt("stray", world.org_id, "one", Arch.X86_64)
    for act in (strays.end("m"), strays.adopt("m", world.org_id, "two", Arch.X86_64)):
        with pytest.raises(UnknownStray):
            await act
    assert [stray.ref for stray in await strays.all()] == ["stray"]


async def test_a_suspected_satellite_is_looked_at_at_once(world: World) -> None:
    """A worker that cannot be reached: its machine may have stopped by itself."""
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=10)
    asleep: list[object] = []
    fleet.on_sleep(asleep.append)
    before = world.cloud.entered["observe"]
    for _ in range(100):
        fleet.suspect(satellite.id)
    await until(lambda: world.cloud.entered["observe"] > before)
    assert not asleep  # it runs
    await world.cloud.sleep(satellite.ref, SleepKind.STOPPED)
    await until(lambda: fleet.suspect(satellite.id) or asleep)
    assert (await world.now(fleet)).state is State.ASLEEP
    assert world.cloud.entered["observe"] < before + 100
    fleet.leave(satellite.id)
    again = await fleet.admit(satellite.id, actor="x", budget=60)
    assert again.epoch > satellite.epoch
    fleet.leave(satellite.id)


async def test_what_cannot_be_looked_at_disturbs_nobody(world: World) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    world.cloud.fail("observe", Denied("no"))
    before = world.cloud.entered["observe"]
    fleet.suspect(satellite.id)
    await until(lambda: world.cloud.entered["observe"] > before)
    fleet.suspect(uuid4())  # nor one that there is not
    assert (await world.now(fleet)).state is State.RUNNING


async def test_a_machine_with_its_satellite_is_no_orphan_any_more(world: World) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    machine = _orphan(world, owner=satellite.id, generation=2)
    await fleet._reconciler.end_orphans()
    assert await world.database.fetchval("select count(*) from orphans") == 0
    machine.generation = 1  # the same generation, and another machine
    await fleet._reconciler.end_orphans()
    await _grown_old(world)
    await world.database.execute("update satellites set ref = 'stray'")
    world.cloud.machines.pop(satellite.ref)
    await fleet._reconciler.end_orphans()
    assert machine.state is MachineState.RUNNING


async def test_a_launch_on_its_way_is_never_an_orphan(world: World) -> None:
    fleet = await world.node(BY_HAND)
    gate = world.cloud.hold_after("launch")
    launching = asyncio.create_task(world.launched(fleet))
    await until(lambda: world.cloud.machines)
    for _ in range(2):
        await fleet._reconciler.end_orphans()
        await _grown_old(world)
    gate.set()
    satellite = await launching
    assert world.cloud.machines[satellite.ref].state is MachineState.RUNNING


async def test_what_a_terminated_satellite_left_behind(world: World) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    await fleet.terminate(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.TERMINATED)
    machine = world.cloud.machines[satellite.ref]
    machine.state = MachineState.RUNNING
    await fleet._reconciler.end_orphans()
    await _grown_old(world)
    await fleet._reconciler.end_orphans()
    assert machine.state is MachineState.RUNNING  # the cloud may still be ending it
    await world.database.execute("update satellites set state_since = now() - interval '2 minutes'")
    await fleet._reconciler.end_orphans()
    await _grown_old(world)
    await fleet._reconciler.end_orphans()
    assert machine.state is MachineState.GONE
