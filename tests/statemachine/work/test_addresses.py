"""Which machine answers: believed from the cloud, and from the machine itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from fleetkit.cloud import Machine
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner.contract import Address, Identity, MachineState
from torpor_provisioner.errors import Unanswered
from torpor_statemachine.errors import MachineMoved, WrongMachine
from torpor_statemachine.events import Unobserved
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State, WakeKind

BUDGET = 60.0
BY_HAND = replace(QUICK, reconcile=3600.0, orphans=3600.0)
BRIEF = replace(QUICK, shortest_wake=1.0, longest_wake=1.0, safety=0.2)


async def _admitted(fleet: Fleet, satellite: Satellite) -> Address:
    admitted = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    return admitted.address


def _tenant(world: World, address: Address, identity: Identity | None = None) -> Machine:
    """Another org's machine, running at that address."""
    machine = Machine(uuid4(), 1, "other", address, identity=identity)
    world.cloud.machines["other"] = machine
    return machine


def _says(satellite: Satellite, boot: str, generation: int = 1) -> Identity:
    return Identity(boot, f"{satellite.id}/{generation}", 1.0)


# --- Believed from the cloud


async def test_an_address_given_to_another_machine_meanwhile(world: World) -> None:
    """Its old address answers at once, and is not it."""
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    assert satellite.address is not None
    _tenant(world, satellite.address)
    mine = world.cloud.machines[satellite.ref]
    mine.address = Address("cloud", 42)
    gate = world.cloud.hold("wake")
    request = asyncio.create_task(_admitted(fleet, satellite))
    await world.entered("observe", world.cloud.entered["observe"] + 5)
    assert not request.done()
    gate.set()
    assert await request == Address("cloud", 42)


async def test_what_answers_is_not_believed_before_the_machine_runs(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    _tenant(world, satellite.address)
    world.cloud.machines[satellite.ref].state = MachineState.PENDING
    request = asyncio.create_task(_admitted(fleet, satellite))
    await world.entered("observe", world.cloud.entered["observe"] + 10)
    assert (await world.now(fleet)).state is State.WAKING
    world.cloud.machines[satellite.ref].state = MachineState.RUNNING
    await request


async def test_a_machine_that_moved_while_it_ran(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0])
    await nodes[1].admit(satellite.id, actor="x", budget=BUDGET)
    left: list[Departure] = []
    nodes[1].on_sleep(left.append)
    world.cloud.machines[satellite.ref].address = Address("elsewhere", 7)
    await until(lambda: _is_at(world, nodes[0], Address("elsewhere", 7)))
    await until(lambda: left)  # the streams on its old address end with a code
    assert {type(one.why) for one in left} == {MachineMoved}
    log = await world.log(nodes[0], satellite.id)
    assert (log[-1].event, log[-1].actor) == ("moved", "reconciler")
    nodes[1].leave(satellite.id)
    assert await _admitted(nodes[1], satellite) == Address("elsewhere", 7)
    assert "wake" not in world.cloud.entered


async def _is_at(world: World, fleet: Fleet, address: Address) -> bool:
    return (await world.now(fleet)).address == address


async def test_a_suspected_machine_that_moved_is_found_by_that_look(world: World) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    world.cloud.machines[satellite.ref].address = Address("elsewhere", 7)
    fleet.suspect(satellite.id)
    await until(lambda: fleet.enter(satellite.id) is None)
    fleet.leave(satellite.id)
    assert await _admitted(fleet, satellite) == Address("elsewhere", 7)


# --- Believed from the machine itself


async def test_another_machine_that_says_so_is_refused(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the cloud says of the address."""
    fleet = await world.node(BRIEF)
    satellite = await world.asleep(fleet)
    world.cloud.machines[satellite.ref].identity = Identity("b", "another/1", 1.0)
    with pytest.raises(WrongMachine) as refused:
        await _admitted(fleet, satellite)
    assert "another/1" not in str(refused.value)  # it may be another org's
    assert "acme/one: TPR-2019" in caplog.text
    assert "'another/1'" in caplog.text
    assert (await world.now(fleet)).failure == f"TPR-2019 {satellite.address.host}"


async def test_the_machine_of_an_older_generation_is_another_one(world: World) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.asleep(fleet)
    world.cloud.machines[satellite.ref].identity = _says(satellite, "b", generation=0)
    with pytest.raises(WrongMachine):
        await _admitted(fleet, satellite)


async def test_a_machine_that_says_who_it_is_need_not_be_shown(world: World) -> None:
    """The cloud is late with its news; once it has told where to ask, that is enough."""
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    machine = world.cloud.machines[satellite.ref]
    machine.identity = _says(satellite, "b")
    machine.state = MachineState.PENDING
    request = asyncio.create_task(_admitted(fleet, satellite))
    await world.entered("observe", world.cloud.entered["observe"] + 2)
    world.cloud.hold("observe")
    machine.state = MachineState.RUNNING
    await request


async def test_a_cloud_that_cannot_be_asked(world: World) -> None:
    """What cannot be seen is waited for: another machine may have the address."""
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.fail("observe", *(Unanswered("no") for _ in range(5)))
    await _admitted(fleet, satellite)
    assert not world.cloud.faults["observe"]


# --- Whether the memory was kept


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("one", "one", WakeKind.RESUMED),
        ("one", "two", WakeKind.STARTED),  # though the cloud says that it hibernated
        (None, "two", WakeKind.RESUMED),
        ("one", None, WakeKind.RESUMED),
    ],
)
async def test_the_boot_tells_whether_memory_was_kept(
    world: World, before: str | None, after: str | None, kind: WakeKind
) -> None:
    told = Told()
    fleet = await world.node(observer=told)
    satellite = await world.asleep(fleet)  # hibernated
    await world.database.execute("update satellites set boot_id = $1", before)
    if after is not None:
        world.cloud.machines[satellite.ref].identity = _says(satellite, after)
    await _admitted(fleet, satellite)
    running = await world.now(fleet)
    assert (running.wake_kind, running.boot_id) == (kind, after)
    lost = kind is WakeKind.STARTED
    assert told.lost == [satellite.id] * lost
    [woke] = [step for step in await world.log(fleet, satellite.id) if step.event == "woke"]
    assert ("its memory was not kept" in woke.detail) is lost


class Told(Unobserved):
    def __init__(self) -> None:
        self.lost: list[UUID] = []

    def lost_memory(self, satellite: Satellite) -> None:
        self.lost.append(satellite.id)
