"""A satellite with a schedule is awake in its hours, and sleeps when they are over."""

from __future__ import annotations

import pytest
from fleetkit.world import World
from waiting import until

from torpor_provisioner.errors import NotReady
from torpor_statemachine.errors import BadSatellite
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import Changes
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.schedules import Schedules

ALWAYS = "Mon-Sun 00:00-24:00 UTC"
DUE = "select sleep_due <= now() from satellites"


async def scheduled(world: World, fleet: Fleet, text: str = ALWAYS) -> None:
    one = await world.now(fleet)
    await fleet.update(one.id, Changes(schedule=text), actor="ann")


async def asleep(world: World, fleet: Fleet) -> Satellite:
    one = await world.launched(fleet)
    await fleet.sleep(one.id, actor="ann")
    return await world.reaches(fleet, one.id, State.ASLEEP)


async def test_a_sleeping_satellite_is_woken_once_and_by_its_schedule(world: World) -> None:
    nodes = [await world.node() for _ in range(3)]
    one = await asleep(world, nodes[0])
    await scheduled(world, nodes[1])
    awake = await world.reaches(nodes[0], one.id, State.RUNNING)
    assert awake.awake_until is not None
    log = await nodes[0].history(one.id, 20)
    wakes = [step for step in log if step.event == "wake"]
    assert [(step.actor, step.reason) for step in wakes] == [("schedule", ALWAYS)]
    assert sum(call == "wake" for call, _ in world.cloud.calls) == 1


async def test_an_idle_satellite_is_not_put_to_sleep_in_its_hours(world: World) -> None:
    fleet = await world.node()
    one = await world.launched(fleet, sleep_after=1)
    await scheduled(world, fleet)
    await until(lambda: world.database.fetchval(DUE))
    for _ in range(3):
        assert await fleet._reaper.reap() == 0
    assert (await world.now(fleet)).state is State.RUNNING
    await world.database.execute("update satellites set awake_until = now()")  # the hours end
    await world.reaches(fleet, one.id, State.ASLEEP)


async def test_without_its_schedule_it_sleeps(world: World) -> None:
    fleet = await world.node()
    one = await world.launched(fleet, sleep_after=1)
    await scheduled(world, fleet)
    await until(lambda: world.database.fetchval("select awake_until > now() from satellites"))
    await scheduled(world, fleet, "")
    await world.reaches(fleet, one.id, State.ASLEEP)
    kept = await world.database.fetchrow("select awake_until, schedule_due from satellites")
    assert kept is not None
    assert tuple(kept) == (None, None)


async def test_who_puts_it_to_sleep_in_its_hours_has_it_asleep(world: World) -> None:
    fleet = await world.node()
    one = await world.launched(fleet)
    await scheduled(world, fleet)
    await until(lambda: world.database.fetchval("select awake_until > now() from satellites"))
    await fleet.sleep(one.id, actor="ann")
    await world.reaches(fleet, one.id, State.ASLEEP)
    there = await fleet._reconciler._duties.something()
    assert not there.wanted
    assert not there.scheduled


async def test_a_wake_for_a_schedule_that_fails_is_tried_again(world: World) -> None:
    fleet = await world.node()
    one = await asleep(world, fleet)
    world.cloud.fail("wake", *[NotReady("later")] * 3)
    await scheduled(world, fleet)
    await world.reaches(fleet, one.id, State.RUNNING)


async def test_hours_that_begin_while_it_falls_asleep_wake_it(world: World) -> None:
    fleet = await world.node()
    one = await world.launched(fleet)
    gate = world.cloud.hold("sleep")
    await fleet.sleep(one.id, actor="ann")
    await world.entered("sleep")
    await scheduled(world, fleet)
    await until(lambda: world.database.fetchval("select wake_requested from satellites"))
    gate.set()
    await world.reaches(fleet, one.id, State.RUNNING)


async def test_a_zone_that_this_node_does_not_know_is_tried_again_later(world: World) -> None:
    fleet = await world.node()
    await world.launched(fleet)
    await world.database.execute(
        "update satellites set schedule = 'Mon 08:00-09:00 Moon/Sea', schedule_due = now()"
    )
    await Schedules(world.database).follow()
    row = await world.database.fetchrow(
        "select awake_until, schedule_due > now() + interval '50 minutes' from satellites"
    )
    assert row is not None
    assert tuple(row) == (None, True)


async def test_what_is_no_schedule_is_refused(world: World) -> None:
    with pytest.raises(BadSatellite, match="no time zone"):
        Changes(schedule="Mon 08:00-09:00 Moon/Sea")


async def test_a_wish_of_a_schedule_ends_with_its_hours(world: World) -> None:
    """Whatever kept it from being woken in them: it does not wake at night for that."""
    fleet = await world.node()
    one = await asleep(world, fleet)
    await world.database.execute(
        "insert into budgets (org_id, amount, refuses, actor, month, spent, currency, reached)"
        " values ($1, 1, true, 'x', date_trunc('month', now() at time zone 'UTC'), 2, 'USD', true)",
        world.org_id,
    )
    await scheduled(world, fleet)
    await until(lambda: world.database.fetchval("select awake_until > now() from satellites"))
    assert not await world.database.fetchval("select wake_requested from satellites")
    await world.database.execute(
        "update satellites set schedule = 'Mon 08:00-08:01 UTC', schedule_due = now(),"
        " awake_until = now(), wake_requested = true"
    )
    await until(lambda: world.database.fetchval("select awake_until is null from satellites"))
    assert not await world.database.fetchval("select wake_requested from satellites")
    assert (await world.now(fleet)).id == one.id


async def test_a_change_in_its_hours_leaves_it_awake(world: World) -> None:
    fleet = await world.node()
    one = await world.launched(fleet)
    await scheduled(world, fleet)
    await until(lambda: world.database.fetchval("select awake_until > now() from satellites"))
    await fleet.update(one.id, Changes(size="large"), actor="ann")

    async def changed() -> bool:
        now = await world.now(fleet)
        return (now.size, now.state) == ("large", State.RUNNING)

    await until(changed)


async def test_a_row_that_is_locked_keeps_no_other_from_its_schedule(world: World) -> None:
    fleet = await world.node()
    held, other = [await world.launched(fleet, name) for name in ("held", "other")]
    due = "update satellites set schedule = $1, schedule_due = now() + interval '0.5 seconds'"
    await world.database.execute(due, ALWAYS)
    async with world.database.borrowed() as connection, connection.transaction():
        await connection.execute("select from satellites where id = $1 for update", held.id)
        kept = "select awake_until is not null from satellites where id = $1"
        await until(lambda: world.database.fetchval(kept, other.id))
