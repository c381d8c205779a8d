"""Clouds that hang, answer late, or take effect late: nobody waits longer than for one call."""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import replace

import pytest
from fleetkit.cloud import Cloud
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner import deadline
from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import NotReady, TimedOut, TorporError
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.events import Unobserved
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.work.clouds import CloudCalls

BUDGET = 60.0
BRIEF = replace(QUICK, call=0.5, look=0.5)
BY_HAND = replace(BRIEF, reconcile=3600.0, orphans=3600.0)


class Told(Unobserved):
    def __init__(self) -> None:
        self.failed: list[tuple[str, str]] = []

    def provisioner_failed(
        self, satellite: Satellite | None, call: str, error: TorporError
    ) -> None:
        self.failed.append((call, error.code))


# --- One call


def _calls(observer: Told, config: FleetConfig = BRIEF) -> CloudCalls:
    return CloudCalls("cloud", Cloud(), config, observer)


async def test_a_call_that_hangs_is_given_up_and_told() -> None:
    told = Told()
    calls = _calls(told)
    with pytest.raises(TimedOut, match=r"observe: no answer within 0\.5 s"):
        await calls.call("observe", lambda _: asyncio.Event().wait())
    assert told.failed == [("observe", TimedOut.code)]


async def test_a_failure_that_comes_as_its_call_is_called_off_is_no_complaint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, fails = asyncio.Event(), asyncio.Event()

    async def refused(_: object) -> None:
        begun.set()
        await fails.wait()
        raise NotReady("?")

    call = asyncio.create_task(_calls(Told()).call("observe", refused))
    await begun.wait()
    fails.set()
    await asyncio.sleep(0)  # it has failed, and nobody has been told yet
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gc.collect()
    assert not caplog.records


async def test_a_call_that_takes_no_notice_is_given_up_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A plug-in that swallows its cancellation keeps nobody waiting."""
    ends = asyncio.Event()

    async def deaf(_: object) -> None:
        while not ends.is_set():
            try:
                await ends.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimedOut):
        await _calls(Told()).call("observe", deaf)
    assert "observe of cloud does not end although it was cancelled" in caplog.text
    ends.set()


async def test_a_call_knows_until_when_it_may_take_effect() -> None:
    left: list[float] = []
    waiting: list[asyncio.Task[None]] = []

    over = asyncio.Event()

    async def asks(_: object) -> None:
        left.append(deadline.left())
        waiting.append(asyncio.create_task(late()))

    async def late() -> None:
        await over.wait()
        left.append(deadline.left())
        deadline.check("wake")

    sure = [7.0]
    calls = _calls(Told(), replace(BRIEF, call=30.0))
    await calls.call("wake", asks, sure=lambda: sure[0])
    assert 6.0 < left[0] <= 7.0
    over.set()
    with pytest.raises(NotReady, match="wake: its time was up"):
        await waiting[0]  # the call is over, whatever it has left behind
    assert left[1] == 0
    assert deadline.left() == float("inf")


async def test_a_call_ceases_with_what_the_caller_is_sure_of() -> None:
    sure = [1.0]

    async def stands_still(_: object) -> None:
        sure[0] = 0.0  # the process was stopped, and goes on
        deadline.check("wake")

    with pytest.raises(NotReady):
        await _calls(Told()).call("wake", stands_still, sure=lambda: sure[0])


# --- In the reconciler


async def test_drift_is_found_after_a_look_that_hung(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    fleet = await world.node(BRIEF, observer=told)
    satellite = await world.launched(fleet)
    world.cloud.hold("observe")
    await until(lambda: ("observe", TimedOut.code) in told.failed)
    world.cloud.gates.clear()
    world.cloud.machines[satellite.ref].state = MachineState.ASLEEP
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert "the machines of cloud were not looked at: TPR-2215" in caplog.text


async def test_a_cloud_that_hangs_hides_no_other(world: World) -> None:
    """Others are compared while its answer is awaited."""
    fleet = await world.node(replace(BY_HAND, call=3600.0, look=3600.0))
    satellite = await world.launched(fleet)
    hangs = Cloud()
    hangs.hold("observe")
    hangs.hold("owned")
    fleet._reconciler._clouds = {
        name: CloudCalls(name, cloud, BY_HAND, Unobserved())
        for name, cloud in (("hangs", hangs), ("cloud", world.cloud))
    }
    await world.database.execute(
        """insert into satellites (org_id, name, provisioner, arch, state, ref, state_since)
        values ($1, 'other', 'hangs', 'x86_64', 'running', 'm', now() - interval '1 day')""",
        world.org_id,
    )
    world.cloud.machines[satellite.ref].state = MachineState.ASLEEP
    await world.database.execute("update nodes set provisioners = '{hangs,cloud}'")
    fleet._reconciler._rounds._of.clear()  # a round is due
    checking = asyncio.create_task(fleet._reconciler.check())
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    ending = asyncio.create_task(fleet._reconciler.end_orphans())
    await world.entered("owned")
    for task in (checking, ending):
        task.cancel()


async def test_a_suspected_satellite_is_looked_at_after_a_look_that_hung(world: World) -> None:
    told = Told()
    fleet = await world.node(BY_HAND, observer=told)
    satellite = await world.launched(fleet)
    world.cloud.hold("observe")
    fleet.suspect(satellite.id)
    await until(lambda: ("observe", TimedOut.code) in told.failed)
    world.cloud.gates.clear()
    world.cloud.machines[satellite.ref].state = MachineState.ASLEEP
    await until(lambda: _suspected_asleep(world, fleet, satellite))


async def _suspected_asleep(world: World, fleet: object, satellite: Satellite) -> bool:
    fleet.suspect(satellite.id)  # type: ignore[attr-defined]
    return (await world.now(fleet)).state is State.ASLEEP  # type: ignore[arg-type]


# --- In transitions


async def test_a_sleep_call_that_hangs_is_made_again(world: World) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.launched(fleet)
    world.cloud.hold("sleep")
    await fleet.sleep(satellite.id, actor="x")
    await world.entered("sleep", 2)
    world.cloud.gates.clear()
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert world.cloud.count("sleep") == 1


async def test_a_look_that_hangs_while_it_falls_asleep(world: World) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.launched(fleet)
    world.cloud.hold("observe")
    await fleet.sleep(satellite.id, actor="x")
    await world.entered("sleep")
    await until(lambda: world.cloud.called_off["observe"])
    world.cloud.gates.clear()
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_the_machine_of_a_failed_satellite_that_does_not_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.launched(fleet)
    await world.database.execute("update satellites set state = 'failed'")
    world.cloud.hold("terminate")
    with caplog.at_level(logging.WARNING):
        await fleet.repair(satellite.id, actor="x")
    again = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert again.generation == 2
    assert "is ended as an orphan" in caplog.text


@pytest.mark.parametrize("kind", SleepKind)
async def test_a_wake_call_that_hangs_after_its_effect_delays_nobody(
    world: World, kind: SleepKind
) -> None:
    """Nor does one that answers late: the worker is asked while the call is under way."""
    fleet = await world.node(replace(QUICK, call=3600.0))
    satellite = await world.asleep(fleet)
    world.cloud.machines[satellite.ref].sleep_kind = kind
    world.cloud.hold_after("wake")
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    assert (await world.events(fleet, satellite.id))[-2:] == ["wake", "woke"]
    assert world.cloud.entered["wake"] == 1


async def test_a_wake_call_that_hangs_without_effect_is_made_again(world: World) -> None:
    told = Told()
    fleet = await world.node(BRIEF, observer=told)
    satellite = await world.asleep(fleet)
    world.cloud.hold("wake")
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await world.entered("wake", 2)
    world.cloud.gates.clear()
    await request
    fleet.leave(satellite.id)
    assert ("wake", TimedOut.code) in told.failed
    assert world.cloud.count("wake") == 1


async def test_what_the_cloud_refuses_is_told_while_it_is_looked_at(world: World) -> None:
    """A look that hangs keeps no refusal from those who wait."""
    fleet = await world.node(replace(QUICK, look=3600.0))
    satellite = await world.asleep(fleet)
    world.cloud.hold("observe")
    world.cloud.fail("wake", NotReady("still falling asleep"))
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await until(lambda: _obstacle(world, fleet))
    world.cloud.gates.clear()
    await request
    fleet.leave(satellite.id)


async def _obstacle(world: World, fleet: object) -> bool:
    obstacle = (await world.now(fleet)).obstacle  # type: ignore[arg-type]
    return obstacle == "TPR-2201 still falling asleep"


async def test_a_look_that_hangs_delays_a_wake_by_one_look(world: World) -> None:
    """The worker answers; the cloud is asked again whether it is that machine's."""
    told = Told()
    fleet = await world.node(replace(QUICK, call=3600.0, look=0.5), observer=told)
    satellite = await world.asleep(fleet)
    world.cloud.hold("observe")
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await until(lambda: ("observe", TimedOut.code) in told.failed)
    world.cloud.gates.clear()
    await request
    fleet.leave(satellite.id)
    assert world.cloud.entered["wake"] == 1


# --- What is learned


async def _usual(world: World) -> float:
    seconds: float = await world.database.fetchval(
        "select extract(epoch from usual_wake)::float8 from satellites"
    )
    return seconds


async def test_nothing_is_learned_from_a_wake_that_was_called_off(world: World) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.asleep(fleet)
    await world.database.execute("update satellites set usual_wake = interval '1 millisecond'")
    world.cloud.hold("wake")
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await world.entered("wake", 2)
    world.cloud.gates.clear()
    await request
    fleet.leave(satellite.id)
    assert await _usual(world) == 0.001


async def test_nothing_is_learned_from_a_wake_that_was_taken_over(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.asleep(nodes[0])
    await world.database.execute("update satellites set usual_wake = interval '1 millisecond'")
    world.cloud.hold("wake")
    await nodes[0].wake(satellite.id, actor="x")
    await world.entered("wake")
    await world.crash(nodes[0])
    world.cloud.gates.clear()
    await world.reaches(nodes[1], satellite.id, State.RUNNING)
    assert "took_over" in await world.events(nodes[1], satellite.id)
    assert await _usual(world) == 0.001
