"""Runaways: found from the totals, told once, suspended where that was chosen."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from torpor_statemachine.errors import (
    BudgetReached,
    PutToSleep,
    SatelliteSuspended,
    UnknownSatellite,
)
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.runaways import Runaways

_PAST = """
insert into satellite_days (satellite_id, day, org_id, name, provisioner, size, running)
select id, (now() at time zone 'UTC')::date - n, org_id, name, provisioner, size, $2 * 3600.0
from satellites, generate_series(1, 14) as n where id = $1
on conflict (satellite_id, day, provisioner, size) do update set running = excluded.running
"""
_BUSY = """
insert into satellite_hours (satellite_id, hour, streams, held)
select $1, date_trunc('hour', now() - n * interval '1 day', 'UTC'), 200, 0
from generate_series(2, 14) as n
"""
_YESTERDAY = """
update satellite_days set running = $2 * 3600.0
where satellite_id = $1 and day = (now() at time zone 'UTC')::date - 1
"""


async def mining(world: Any, fleet: Any) -> UUID:
    """A satellite whose usual day has 5 h of builds, and whose yesterday had 22 h and none."""
    one = await world.launched(fleet)
    await world.database.execute(_PAST, one.id, 5.0)
    await world.database.execute(_BUSY, one.id)
    await world.database.execute(_YESTERDAY, one.id, 22.0)
    return one.id


async def kinds(world: Any) -> list[str]:
    rows = await world.database.fetch("select kind from notices order by number")
    return [row["kind"] for row in rows]


async def test_one_is_told_once_and_explained(world: Any) -> None:
    fleet = await world.node()
    await mining(world, fleet)
    await world.launched(fleet, "two")
    for _ in range(2):
        await fleet._runaways.look()
    assert await kinds(world) == ["runaway"]
    [seen] = await Runaways(world.database).all()
    assert (seen.org, seen.name, seen.suspended) == ("acme", "one", False)
    assert seen.detail.startswith("awake for 22.0 h of a day, with 0 streams begun")
    shown = await world.now(fleet)
    assert shown.state is State.RUNNING
    assert shown.obstacle.startswith("TPR-2046 awake for 22.0 h")
    assert (await world.now(fleet, "two")).obstacle is None


async def test_one_node_of_all_looks(world: Any) -> None:
    fleet, other = await world.node(), await world.node()
    await mining(world, fleet)
    await fleet._runaways.look(300.0)
    await world.database.execute("delete from runaways")
    await other._runaways.look(300.0)
    assert await Runaways(world.database).all() == []


@pytest.mark.parametrize("of_org", [True, False])
async def test_one_that_is_suspended_sleeps_until_it_is_allowed(world: Any, of_org: bool) -> None:
    fleet, runaways = await world.node(), Runaways(world.database)
    org_id = world.org_id if of_org else None
    await runaways.choose(org_id, suspends=True, actor="shell:ann")
    one = await mining(world, fleet)
    departed: list[Any] = []
    fleet.on_sleep(departed.append)
    await fleet.admit(one, actor="miner", budget=30)
    await fleet._runaways.look()
    await world.reaches(fleet, one, State.ASLEEP)
    assert isinstance(departed[0].why, PutToSleep)
    assert "runaway alarm" in departed[0].why.detail
    with pytest.raises(SatelliteSuspended, match="TPR-2045"):
        await fleet.admit(one, actor="miner", budget=30)
    with pytest.raises(SatelliteSuspended):
        await fleet.wake(one, actor="ann")
    assert (await world.now(fleet)).obstacle.startswith("TPR-2045 ")
    await fleet._runaways.look()
    assert await kinds(world) == ["runaway"]
    await runaways.allow("acme", "one")
    await fleet.admit(one, actor="ann", budget=30)
    await fleet._runaways.look()
    assert await kinds(world) == ["runaway"], "no alarm for a week"
    assert (await world.now(fleet)).state is State.RUNNING


async def test_an_orgs_own_choice_counts_before_the_operators(world: Any) -> None:
    fleet, runaways = await world.node(), Runaways(world.database)
    await runaways.choose(None, suspends=True, actor="shell:ann")
    await runaways.choose(world.org_id, suspends=False, actor="shell:ann")
    one = await mining(world, fleet)
    await fleet._runaways.look()
    assert [each.suspended for each in await runaways.all()] == [False]
    assert (await fleet.find(world.org_id, "one")).id == one


async def test_nothing_is_allowed_that_was_no_alarm(world: Any) -> None:
    fleet = await world.node()
    await world.launched(fleet)
    with pytest.raises(UnknownSatellite):
        await Runaways(world.database).allow("acme", "one")


# --- A budget that is reached

_REACHED = """
insert into budgets (org_id, amount, refuses, actor, month, spent, currency, reached)
values ($1, 100, $2, 'shell:ann', date_trunc('month', now() at time zone 'UTC')::date, 101.234,
    'USD', true)
"""


async def test_a_budget_that_is_reached_refuses_wakes_and_disturbs_no_stream(world: Any) -> None:
    fleet = await world.node()
    awake, asleep = await world.launched(fleet, "awake"), await world.asleep(fleet, "asleep")
    await fleet.admit(awake.id, actor="a", budget=30)
    await world.database.execute(_REACHED, world.org_id, True)
    assert fleet.enter(awake.id) is not None
    with pytest.raises(BudgetReached, match=r"TPR-2047 .*101\.23 of 100 USD in "):
        await fleet.admit(asleep.id, actor="a", budget=30)
    with pytest.raises(BudgetReached):
        await fleet.wake(asleep.id, actor="ann")
    with pytest.raises(BudgetReached):
        await world.launched(fleet, "new")
    assert (await world.now(fleet, "asleep")).obstacle.startswith("TPR-2047 ")
    await world.database.execute("update budgets set month = month - interval '1 month'")
    await fleet.admit(asleep.id, actor="a", budget=30)


async def test_a_budget_that_only_warns_refuses_nothing(world: Any) -> None:
    fleet = await world.node()
    asleep = await world.asleep(fleet)
    await world.database.execute(_REACHED, world.org_id, False)
    await fleet.admit(asleep.id, actor="a", budget=30)


async def test_what_was_wanted_while_it_fell_asleep_is_not_woken_either(world: Any) -> None:
    fleet = await world.node()
    asleep = await world.asleep(fleet)
    await world.database.execute(_REACHED, world.org_id, True)
    await world.database.execute("update satellites set wake_requested = true")
    await fleet._reconciler.look()
    await fleet._reconciler.look()
    assert "wake" not in await world.events(fleet, asleep.id)
