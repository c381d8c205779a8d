"""Falling asleep: once, never against a wake that came in time, and never believed too soon."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fleetkit.databases import Forgetful, transaction
from fleetkit.world import QUICK, World, believe_server
from waiting import until

from torpor_provisioner.contract import Arch, MachineState, SleepKind
from torpor_provisioner.errors import Denied, Invalid, NotReady, Quota, Throttled, TorporError
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import SleepMode, State

BUDGET = 60.0


async def _admitted(fleet: Fleet, satellite: Satellite) -> None:
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


@pytest.mark.parametrize("obstacle", [Throttled("?"), NotReady("?"), OSError("?")])
async def test_what_passes_is_tried_again(world: World, obstacle: Exception) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    world.cloud.fail("sleep", obstacle)
    await fleet.sleep(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert world.cloud.count("sleep") == 1


@pytest.mark.parametrize(
    ("hibernates", "mode", "how"),
    [
        (False, SleepMode.AUTO, SleepKind.STOPPED),
        (False, SleepMode.HIBERNATE, SleepKind.HIBERNATED),
        (True, SleepMode.AUTO, SleepKind.HIBERNATED),
        (True, SleepMode.STOP, SleepKind.STOPPED),
    ],
)
async def test_arm_stops_unless_it_or_its_operator_says_otherwise(
    world: World, hibernates: bool, mode: SleepMode, how: SleepKind
) -> None:
    fleet = await world.node(replace(QUICK, hibernate_arm64=hibernates))
    asleep = await world.asleep(fleet, arch=Arch.ARM64, mode=mode)
    assert asleep.sleep_kind is how


@pytest.mark.parametrize("answer", [Throttled("?"), OSError("?")])
async def test_a_lost_answer_sleeps_once(world: World, answer: Exception) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    world.cloud.lose("sleep", answer)
    await fleet.sleep(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert world.cloud.count("sleep") == 1


@pytest.mark.parametrize("refusal", [Quota, Denied, Invalid])
async def test_what_lasts_leaves_it_awake(world: World, refusal: type[TorporError]) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    world.cloud.fail("sleep", refusal("no"))
    gate = world.cloud.hold("sleep")
    await fleet.sleep(satellite.id, actor="x")
    gate.set()
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert running.failure == f"{refusal.code} no"
    await _admitted(fleet, satellite)


async def test_a_machine_that_will_not_sleep(world: World) -> None:
    brief = replace(QUICK, sleep=1.0, shortest_wake=1.0, safety=0.2, patience=0.05)
    fleet = await world.node(brief)
    satellite = await world.launched(fleet)
    world.cloud.deaf.add(satellite.ref)
    gate = world.cloud.hold("sleep")
    await fleet.sleep(satellite.id, actor="x")
    gate.set()
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert running.failure.startswith("TPR-2014")
    assert (await world.events(fleet, satellite.id))[-1] == "sleep_failed"


async def test_a_machine_that_is_not_shown_is_not_called_awake(world: World) -> None:
    fleet = await world.node(replace(QUICK, sleep=1.5, safety=0.2))
    satellite = await world.launched(fleet)
    gate = world.cloud.hold_after("sleep")
    await fleet.sleep(satellite.id, actor="x")
    await world.entered("sleep")
    world.cloud.fail("observe", Denied("no"), Denied("no"))
    gate.set()
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert "sleep_failed" not in await world.events(fleet, satellite.id)


async def test_a_machine_still_on_its_way_at_the_deadline_is_not_called_awake(
    world: World,
) -> None:
    brief = replace(QUICK, sleep=1.2, safety=0.2)
    fleet = await world.node(brief)
    satellite = await world.launched(fleet)
    machine = world.cloud.machines[satellite.ref]
    world.cloud.slow.add(satellite.ref)
    await fleet.sleep(satellite.id, actor="x")
    await until(lambda: _took_over(world, fleet, satellite))
    await until(lambda: machine.state is MachineState.STOPPING)
    assert (await world.now(fleet)).state is State.SLEEPING
    machine.state = MachineState.ASLEEP
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert "sleep_failed" not in await world.events(fleet, satellite.id)
    assert world.cloud.count("sleep") == 1


async def _took_over(world: World, fleet: Fleet, satellite: Satellite) -> bool:
    return "took_over" in await world.events(fleet, satellite.id)


async def test_a_wake_before_the_call_abandons_the_sleep(world: World) -> None:
    nodes = [await world.node(kind=Forgetful), await world.node()]
    satellite = await world.launched(nodes[0])
    # Its node asks the database for leave to call, and does not hear the answer
    nodes[0]._database.refuse("update satellites set sleep_called")  # type: ignore[attr-defined]
    await nodes[0].sleep(satellite.id, actor="x")
    request = asyncio.create_task(_admitted(nodes[1], satellite))
    await until(lambda: _wanted(world, nodes[1]))
    nodes[0]._database.refused.clear()  # type: ignore[attr-defined]
    await request
    assert "sleep" not in world.cloud.entered
    assert (await world.events(nodes[0], satellite.id))[-2:] == ["sleep", "sleep_abandoned"]


async def _wanted(world: World, fleet: Fleet) -> bool:
    return (await world.now(fleet)).wake_requested


@pytest.mark.parametrize("requester_dies", [False, True])
async def test_a_wake_after_the_call_fires_once_it_sleeps(
    world: World, requester_dies: bool
) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0])
    gate = world.cloud.hold("sleep")
    await nodes[0].sleep(satellite.id, actor="x")
    await world.entered("sleep")
    request = asyncio.create_task(_admitted(nodes[1], satellite))
    await until(lambda: _wanted(world, nodes[0]))
    if requester_dies:
        await world.crash(nodes[1])
    gate.set()
    await world.reaches(nodes[0], satellite.id, State.RUNNING)
    (outcome,) = await asyncio.gather(request, return_exceptions=True)
    assert isinstance(outcome, TorporError) if requester_dies else outcome is None
    assert (await world.events(nodes[0], satellite.id))[-4:] == ["sleep", "slept", "wake", "woke"]
    assert (world.cloud.count("sleep"), world.cloud.count("wake")) == (1, 1)


async def test_a_sleep_whose_call_was_refused_is_not_abandoned(world: World) -> None:
    """A refusal may be a lost answer: the machine may fall asleep under a request let in."""
    fleet = await world.node()
    satellite = await world.launched(fleet)
    world.cloud.fail("sleep", Throttled("?"))
    gate = world.cloud.hold("sleep")
    await fleet.sleep(satellite.id, actor="x")
    await world.entered("sleep")
    request = asyncio.create_task(_admitted(fleet, satellite))
    await until(lambda: _wanted(world, fleet))
    gate.set()
    await request
    assert (await world.events(fleet, satellite.id))[-4:] == ["sleep", "slept", "wake", "woke"]


async def test_a_machine_too_young_to_sleep_keeps_nobody_waiting(world: World) -> None:
    """It says that nothing was done, as long as it likes; requests that come then are let in."""
    fleet = await world.node(replace(QUICK, longest_retry=3600.0, first_retry=3600.0))
    satellite = await world.launched(fleet)
    world.cloud.fail("sleep", NotReady("too young to hibernate"))
    await fleet.sleep(satellite.id, actor="x")
    await world.entered("sleep")
    await _admitted(fleet, satellite)
    assert (await world.events(fleet, satellite.id))[-2:] == ["sleep", "sleep_abandoned"]
    assert world.cloud.count("sleep") == 0


async def test_a_machine_that_may_have_heard_of_its_sleep_is_not_let_in_to(world: World) -> None:
    """A refusal after a call whose answer was lost says nothing of that one, for a while."""
    fleet = await world.node(replace(QUICK, patience=20.0))
    satellite = await world.launched(fleet)
    world.cloud.fail("sleep", OSError("lost"), NotReady("it moves"))
    gate = world.cloud.hold("sleep")
    await fleet.sleep(satellite.id, actor="x")
    await world.entered("sleep")
    request = asyncio.create_task(_admitted(fleet, satellite))
    await until(lambda: _wanted(world, fleet))
    gate.set()
    await request
    assert (await world.events(fleet, satellite.id))[-4:] == ["sleep", "slept", "wake", "woke"]


async def test_a_lost_call_that_had_no_effect_keeps_nobody_waiting_for_long(world: World) -> None:
    """The cloud has had its time to show it, and the machine runs: nothing was done to it."""
    fleet = await world.node(replace(QUICK, patience=0.05, longest_retry=0.05))
    satellite = await world.launched(fleet)
    world.cloud.fail("sleep", OSError("lost"), *[NotReady("too young")] * 10_000)
    await fleet.sleep(satellite.id, actor="x")
    await world.entered("sleep")
    await _admitted(fleet, satellite)
    assert (await world.events(fleet, satellite.id))[-2:] == ["sleep", "sleep_abandoned"]
    assert world.cloud.count("sleep") == 0


async def test_a_sleep_of_a_dead_node_is_abandoned_for_who_waits(world: World) -> None:
    """If nothing has come of its call by then: before that the cloud has its time to show it."""
    dying, other = await world.node(), await world.node()
    satellite = await world.launched(dying)
    gate = world.cloud.hold("sleep")
    await dying.sleep(satellite.id, actor="x")
    await world.entered("sleep")
    request = asyncio.create_task(_admitted(other, satellite))
    await until(lambda: _wanted(world, other))
    await world.crash(dying)
    gate.set()
    await request
    assert (await world.events(other, satellite.id))[-2:] == ["took_over", "sleep_abandoned"]
    assert world.cloud.count("sleep") == 0


async def test_a_wake_that_was_asked_for_outlives_everyone_who_knew(world: World) -> None:
    """Who put it to sleep dies after the last step and before the wake."""
    nodes = [await world.node(kind=Forgetful), await world.node()]
    satellite = await world.launched(nodes[0])
    gate = world.cloud.hold("sleep")
    await nodes[0].sleep(satellite.id, actor="x")
    await world.entered("sleep")
    await nodes[1].wake(satellite.id, actor="ann")
    nodes[0]._database.refuse("with changed as", "wake")  # type: ignore[attr-defined]
    gate.set()
    await world.reaches(nodes[1], satellite.id, State.RUNNING)
    log = await world.log(nodes[1], satellite.id)
    assert [step.actor for step in log if step.event == "wake"] == ["reconciler"]


async def test_a_lost_answer_of_the_last_step(world: World) -> None:
    fleet = await world.node(kind=Forgetful)
    satellite = await world.launched(fleet)
    fleet._database.lose.append("slept")  # type: ignore[attr-defined]
    await fleet.sleep(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    await _admitted(fleet, satellite)
    events = await world.events(fleet, satellite.id)
    assert events[-4:] == ["sleep", "slept", "wake", "woke"]


async def test_a_machine_that_is_gone(world: World) -> None:
    fleet = await world.node(replace(QUICK, reconcile=3600.0, poll=3600.0))
    satellite = await world.launched(fleet)
    world.cloud.machines[satellite.ref].state = MachineState.GONE
    await fleet.sleep(satellite.id, actor="x")
    lost = await world.reaches(fleet, satellite.id, State.FAILED)
    assert lost.failure.startswith("TPR-2205")


async def test_the_reaper_leaves_alone_what_is_locked_or_leased(world: World) -> None:
    # No heartbeat either: it would give up a lease that only the database knows of
    still = replace(QUICK, reap=3600.0, heartbeat=600.0, claims_live=1800.0, leases_live=1800.0)
    fleet = await world.node(still)
    await believe_server(fleet)
    satellite = await world.launched(fleet)
    await world.database.execute(
        "update satellites set idle_since = now(), sleep_due = now() where id = $1", satellite.id
    )
    async with transaction(world.database) as other:
        await other.execute("select from satellites where id = $1 for update", satellite.id)
        assert await fleet._reaper.reap() == 0, "a lease may just be taken"
    await world.database.execute(
        "insert into leases (satellite_id, node_id) values ($1, $2)", satellite.id, fleet.node_id
    )
    assert await fleet._reaper.reap() == 0
    await world.database.execute("delete from leases")
    assert await fleet._reaper.reap() == 1
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_reapers_share_the_work(world: World) -> None:
    nodes = [await world.node(replace(QUICK, after_wake=0.0)) for _ in range(3)]
    satellites = [
        await world.launched(nodes[0], f"s{number}", sleep_after=1) for number in range(12)
    ]
    for satellite in satellites:
        await world.reaches(nodes[0], satellite.id, State.ASLEEP)
        assert world.cloud.count("sleep", satellite.ref) == 1
        assert (await world.events(nodes[0], satellite.id)).count("sleep") == 1
