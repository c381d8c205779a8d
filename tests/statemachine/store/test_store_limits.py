"""An org's limits are kept by the claims themselves, on every node."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from fleetkit.world import World
from waiting import until

from torpor_statemachine.errors import BadLimits, LimitReached, recall
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.limits import MOST, Limits, LimitStore


async def limit(world: World, **limits: int) -> None:
    await LimitStore(world.database).set(world.org_id, Limits(**limits), "shell:ann")


async def asleep(world: World, fleet: Fleet, *names: str) -> list[UUID]:
    made = [(await world.launched(fleet, name)).id for name in names]
    for each in made:
        await fleet.sleep(each, actor="ann")
    for each in made:
        await world.reaches(fleet, each, State.ASLEEP)
    return made


async def test_of_many_wakes_at_once_as_many_pass_as_there_is_room_for(world: World) -> None:
    nodes = [await world.node() for _ in range(3)]
    made = await asleep(world, nodes[0], *"abcdef")
    await limit(world, awake=2)
    answers = await asyncio.gather(
        *(node.wake(each, actor="x") for node in nodes for each in made), return_exceptions=True
    )
    refused = [each for each in answers if isinstance(each, BaseException)]
    assert refused
    assert {type(each) for each in refused} == {LimitReached}
    assert "awake, 2 at most" in str(refused[0])
    assert sum(call == "wake" for call, _ in world.cloud.calls) == 2


async def test_a_request_is_refused_with_the_limit_and_let_in_when_it_is_raised(
    world: World,
) -> None:
    fleet = await world.node()
    [one] = await asleep(world, fleet, "one")
    await limit(world, awake=0)
    with pytest.raises(LimitReached, match=r"TPR-2050 .*acme/one: 0 satellites awake, 0 at most"):
        await fleet.admit(one, actor="token:ci", budget=30)
    await limit(world, awake=1)
    await fleet.admit(one, actor="token:ci", budget=30)
    fleet.leave(one)


async def test_launches_stop_at_the_limit(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    await limit(world, machines=3)

    async def launch(node: Fleet, name: str) -> object:
        new = NewSatellite(org_id=world.org_id, name=name, provisioner="cloud")
        return await node.launch(new, actor="x")

    launches = (launch(nodes[i % 2], f"s{i}") for i in range(8))
    made = await asyncio.gather(*launches, return_exceptions=True)
    assert sum(isinstance(each, LimitReached) for each in made) == 5
    there = await world.database.fetchval("select count(*) from satellites")
    assert there == 3


async def test_one_satellite_is_woken_so_often_an_hour(world: World) -> None:
    fleet = await world.node()
    one, two = await asleep(world, fleet, "one", "two")
    await limit(world, wakes_per_hour=1)
    await fleet.wake(one, actor="x")
    await world.reaches(fleet, one, State.RUNNING)
    await fleet.sleep(one, actor="x")
    await world.reaches(fleet, one, State.ASLEEP)
    with pytest.raises(LimitReached, match="1 wakes in an hour, 1 at most"):
        await fleet.wake(one, actor="x")
    await fleet.wake(two, actor="x")  # the limit is each satellite's
    await world.database.execute("update transitions set at = at - interval '1 hour'")
    await fleet.wake(one, actor="x")


async def test_a_schedule_waits_for_room_and_says_so(world: World) -> None:
    fleet = await world.node()
    [one] = await asleep(world, fleet, "one")
    await limit(world, awake=0)
    await fleet.update(one, Changes(schedule="Mon-Sun 00:00-24:00 UTC"), actor="ann")

    async def says_so() -> bool:
        satellite = await world.now(fleet)
        return satellite.failure is not None and satellite.state is State.ASLEEP

    await until(says_so)
    satellite = await world.now(fleet)
    assert recall(satellite.failure or "").code == "TPR-2050"
    assert satellite.retry_in > 0
    assert await LimitStore(world.database).remove(world.org_id)
    await world.database.execute("update satellites set retry_at = now()")
    await world.reaches(fleet, one, State.RUNNING)


async def test_limits_are_listed_with_what_there_is(world: World) -> None:
    fleet = await world.node()
    await world.launched(fleet)
    store = LimitStore(world.database)
    assert await store.all() == []
    await limit(world, machines=5)
    await limit(world, awake=2)  # all of them anew
    [kept] = await store.all(world.org_id)
    assert (kept.org, kept.machines, kept.awake, kept.set_by) == ("acme", None, 2, "shell:ann")
    assert (kept.machines_now, kept.awake_now) == (1, 1)
    assert await store.remove(world.org_id)
    assert not await store.remove(world.org_id)


@pytest.mark.parametrize("number", [-1, MOST + 1])
def test_what_is_no_limit(number: int) -> None:
    with pytest.raises(BadLimits, match="TPR-2051"):
        Limits(awake=number)
