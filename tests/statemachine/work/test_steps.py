"""What the work of a claim is told to have consisted of."""

from __future__ import annotations

import asyncio

import pytest
from fleetkit.world import World
from waiting import until

from torpor_provisioner.errors import Denied, Throttled
from torpor_statemachine.errors import BackingOff
from torpor_statemachine.events import Unobserved, Worked
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.work import steps


class Told(Unobserved):
    def __init__(self) -> None:
        self.told: list[Worked] = []

    def worked(self, worked: Worked) -> None:
        self.told.append(worked)

    def of(self, state: State) -> list[Worked]:
        return [worked for worked in self.told if worked.state is state]


async def _fleet(world: World) -> tuple[Fleet, Satellite, Told]:
    told = Told()
    fleet = await world.node(observer=told)
    return fleet, await world.asleep(fleet), told


async def test_a_wake(world: World) -> None:
    fleet, satellite, told = await _fleet(world)
    world.cloud.fail("wake", Throttled("once"))
    seen_before: list[int] = []
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=60.0))
    request.add_done_callback(lambda _: seen_before.append(len(told.of(State.WAKING))))
    admitted = await request
    fleet.leave(satellite.id)
    assert seen_before == [1], "told before those who wait go on"
    [worked] = told.of(State.WAKING)
    assert worked.epoch == admitted.epoch
    assert worked.last is not None
    assert (worked.last.event, worked.last.wake_kind) == ("woke", WakeKind.RESUMED)
    calls = [step for step in worked.steps if step.name == "wake"]
    assert [type(step.error) for step in calls] == [Throttled, type(None)]
    names = {step.name for step in worked.steps}
    assert {steps.CLAIM, steps.BOOT, steps.PROBE, "observe"} <= names
    assert worked.steps[0].name == steps.CLAIM
    for step in worked.steps:
        assert worked.began <= step.began <= step.ended <= worked.ended


async def test_one_that_the_cloud_refuses(world: World) -> None:
    fleet, satellite, told = await _fleet(world)
    world.cloud.fail("wake", Denied("no"))
    with pytest.raises((Denied, BackingOff)):
        await fleet.admit(satellite.id, actor="x", budget=60.0)
    worked = told.of(State.WAKING)[0]
    assert worked.last is not None
    assert worked.last.event == "wake_refused"
    assert {step.name for step in worked.steps if step.error is not None} == {"wake"}


async def test_one_that_is_left_to_another_node(world: World) -> None:
    fleet, satellite, told = await _fleet(world)
    world.cloud.hold("wake")
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=60.0))
    await world.entered("wake", 1)
    await fleet.aclose()
    await asyncio.gather(request, return_exceptions=True)
    await until(lambda: told.of(State.WAKING))
    assert [worked.last for worked in told.of(State.WAKING)] == [None]


async def test_so_many_and_no_more(world: World, monkeypatch) -> None:
    monkeypatch.setattr(steps, "MOST", 2)
    fleet, satellite, told = await _fleet(world)
    await fleet.admit(satellite.id, actor="x", budget=60.0)
    fleet.leave(satellite.id)
    [worked] = told.of(State.WAKING)
    assert len(worked.steps) == 2
    assert worked.missed >= 3
