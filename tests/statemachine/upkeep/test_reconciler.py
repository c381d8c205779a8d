"""The database and the cloud: whatever comes between them is found and mended."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from fleetkit.cloud import Cloud
from fleetkit.rounds import BY_HAND, check, stop
from fleetkit.world import World
from waiting import until

from torpor_provisioner.contract import Address, MachineState, SleepKind
from torpor_provisioner.errors import Denied, Throttled
from torpor_statemachine.events import Unobserved
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.work.clouds import CloudCalls

BUDGET = 60.0


# --- Drift


@pytest.mark.parametrize("kind", SleepKind)
async def test_stopped_by_hand(world: World, kind: SleepKind) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told = asyncio.Event()
    fleet.on_sleep(lambda _: told.set())
    stop(world, satellite.ref, kind)
    asleep = await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert asleep.sleep_kind is kind
    await told.wait()  # the door cuts what is left of the streams
    assert fleet.enter(satellite.id) is None
    fleet.leave(satellite.id)
    log = await world.log(fleet, satellite.id)
    assert (log[-1].event, log[-1].actor) == ("found_asleep", "reconciler")
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


async def test_started_elsewhere(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    machine = world.cloud.machines[satellite.ref]
    machine.state, machine.address = MachineState.RUNNING, Address("elsewhere", 7)
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert running.address == Address("elsewhere", 7)
    assert running.idle_since is not None  # and it will fall asleep in its time
    assert "wake" not in world.cloud.entered


@pytest.mark.parametrize("asleep", [False, True])
async def test_terminated_by_the_cloud(world: World, asleep: bool) -> None:
    fleet = await world.node()
    satellite = await (world.asleep(fleet) if asleep else world.launched(fleet))
    world.cloud.machines[satellite.ref].state = MachineState.GONE
    failed = await world.reaches(fleet, satellite.id, State.FAILED)
    assert failed.failure.startswith("TPR-2205")
    await fleet.repair(satellite.id, actor="x")
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert running.generation == 2


@pytest.mark.parametrize("state", [MachineState.PENDING, MachineState.STOPPING])
async def test_a_machine_in_motion_is_not_judged(world: World, state: MachineState) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    world.cloud.machines[satellite.ref].state = state
    await check(world, fleet)
    assert (await world.now(fleet)).state is State.RUNNING


async def test_a_change_that_was_overtaken_is_not_written(world: World) -> None:
    """What was seen is of an epoch that is over by the time it is to be written."""
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    await until(lambda: not fleet._coordinator._work)  # it looks at the machine, too
    gate = world.cloud.hold("observe")
    checking = asyncio.create_task(check(world, fleet))
    await world.entered("observe", world.cloud.entered["observe"] + 1)
    await world.database.execute("update satellites set epoch = epoch + 1")
    stop(world, satellite.ref)
    gate.set()
    await checking
    assert (await world.now(fleet)).state is State.RUNNING


async def test_a_young_change_may_not_be_visible_yet(world: World) -> None:
    fleet = await world.node(replace(BY_HAND, cloud_lag=3600.0))
    satellite = await world.launched(fleet)
    stop(world, satellite.ref)
    await check(world, fleet)
    assert (await world.now(fleet)).state is State.RUNNING


async def test_one_look_is_shared_among_the_nodes(world: World) -> None:
    nodes = [await world.node(replace(BY_HAND, poll=3600.0)) for _ in range(2)]
    for number in range(4):
        await world.launched(nodes[0], f"s{number}")
    before = world.cloud.entered["observe"]
    for node in nodes:
        node._reconciler._rounds._of.clear()
    await asyncio.gather(*(node._reconciler.check() for node in nodes))
    assert world.cloud.entered["observe"] - before <= 2
    await nodes[0]._reconciler.check()
    assert world.cloud.entered["observe"] - before <= 2


async def test_a_cloud_that_fails_hides_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    stop(world, satellite.ref)
    broken = Cloud()
    broken.fail("observe", *[Denied("no")] * 3)
    broken.fail("owned", *[RuntimeError("a fault")] * 3)
    fleet._reconciler._clouds = {
        name: CloudCalls(name, cloud, BY_HAND, Unobserved())
        for name, cloud in (("broken", broken), ("cloud", world.cloud))
    }
    await world.database.execute(
        """insert into satellites (org_id, name, provisioner, arch, state, ref, state_since)
        values ($1, 'other', 'broken', 'x86_64', 'running', 'm', now() - interval '1 day')""",
        world.org_id,
    )
    await world.database.execute("update nodes set provisioners = '{broken,cloud}'")
    with caplog.at_level(logging.WARNING):
        await check(world, fleet)
        await fleet._reconciler.end_orphans()
    # once each; the node's own search may come between
    assert caplog.text.count("the machines of broken were not looked at") >= 2
    assert (await world.now(fleet)).state is State.ASLEEP


async def test_what_is_odd_about_one_machine_hides_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = await world.node(BY_HAND)
    odd, stopped = await world.asleep(fleet, "odd"), await world.launched(fleet, "two")
    machine = world.cloud.machines[odd.ref]
    machine.state, machine.address = MachineState.RUNNING, Address("no\0where", 1)
    stop(world, stopped.ref)
    await check(world, fleet)
    assert (await world.now(fleet, "two")).state is State.ASLEEP
    assert (await world.now(fleet, "odd")).state is State.ASLEEP
    assert "acme/odd asleep, epoch" in caplog.text
    assert "could not be compared" in caplog.text


async def test_words_that_postgres_does_not_keep(world: World) -> None:
    fleet = await world.node(BY_HAND)
    satellite = await world.launched(fleet)
    stop(world, satellite.ref)
    world.cloud.machines[satellite.ref].detail = "its last words: \0 \ud800"
    await check(world, fleet)
    log = await world.log(fleet, satellite.id)
    assert log[-1].event == "found_asleep"
    assert log[-1].detail == "its last words: \N{REPLACEMENT CHARACTER} ?"


async def test_a_node_without_a_cloud_leaves_its_satellites_alone(world: World) -> None:
    """And does not stumble over them either."""
    stranger = await world.node(replace(BY_HAND, reap_batch=1))
    await world.database.execute(
        """insert into satellites (org_id, name, provisioner, arch, state, ref, idle_since,
            sleep_due)
        values ($1, 'foreign', 'elsewhere', 'x86_64', 'running', 'm', now() - interval '9 days',
            now() - interval '8 days')""",
        world.org_id,
    )
    own = await world.launched(stranger, sleep_after=1)
    await world.reaches(stranger, own.id, State.ASLEEP)
    assert (await world.now(stranger, "foreign")).state is State.RUNNING


# --- Hibernation that does not last


class Forgets(Cloud):
    longest_hibernation = timedelta(days=60)
    renews_hibernation = False


@pytest.mark.parametrize(("kind", "woken"), [("hibernated", True), ("stopped", False)])
async def test_a_memory_that_is_about_to_be_lost_is_woken_and_stopped_once(
    world: World, kind: str, woken: bool
) -> None:
    """AWS: "start the hibernated instance, stop the instance, and start it"."""
    world.cloud = Forgets()
    fleet = await world.node(BY_HAND)
    satellite = await world.asleep(fleet)
    await world.database.execute("update satellites set sleep_kind = $1", kind)
    await check(world, fleet)
    assert (await world.now(fleet)).state is State.ASLEEP
    await world.database.execute("update satellites set state_since = now() - interval '61 days'")
    await check(world, fleet)
    if not woken:
        assert world.cloud.count("wake") == 0
        return
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert (running.stops_next, world.cloud.count("wake")) == (True, 1)
    await fleet.sleep(satellite.id, actor="test")
    stopped = await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert (stopped.sleep_kind, stopped.stops_next) == (SleepKind.STOPPED, False)
    steps = {step.event: step for step in await world.log(fleet, satellite.id)}
    assert steps["wake"].reason == "hibernated for as long as it may; to be stopped"
    assert "for as long as the cloud keeps it" in steps["slept"].detail
    await check(world, fleet)
    assert world.cloud.count("wake") == 1, "it is stopped until somebody wants it"
    await fleet.wake(satellite.id, actor="test")
    await world.reaches(fleet, satellite.id, State.RUNNING)
    await fleet.sleep(satellite.id, actor="test")
    again = await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert again.sleep_kind is SleepKind.HIBERNATED, "once was enough"


async def test_by_choice_it_is_started_again_and_hibernates_anew(world: World) -> None:
    world.cloud = Forgets()
    world.cloud.renews_hibernation = True
    fleet = await world.node(BY_HAND)
    satellite = await world.asleep(fleet)
    await world.database.execute(
        "update satellites set sleep_kind = 'hibernated', state_since = now() - interval '61 days'"
    )
    await check(world, fleet)
    await world.reaches(fleet, satellite.id, State.RUNNING)
    await fleet.sleep(satellite.id, actor="test")
    stopped = await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert (stopped.sleep_kind, stopped.memory_expired) == (SleepKind.STOPPED, True)
    await check(world, fleet)
    await world.reaches(fleet, satellite.id, State.RUNNING)
    assert (await world.log(fleet, satellite.id))[-2].reason == "stopped; to hibernate anew"
    await fleet.sleep(satellite.id, actor="test")
    again = await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert (again.sleep_kind, again.memory_expired) == (SleepKind.HIBERNATED, False)
    await check(world, fleet)
    assert world.cloud.count("wake") == 2, "and that is all"


# --- Its duties go on


async def test_a_round_that_fails_is_followed_by_the_next(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    world.cloud.fail("observe", Throttled("?"), RuntimeError("?"))
    await until(lambda: not world.cloud.faults["observe"])
    stop(world, satellite.ref)
    await world.reaches(fleet, satellite.id, State.ASLEEP)
