"""The database's clock is set back, and what was written before lies far ahead.

Rows are shifted instead: all that is read of a clock here are differences from now().
"""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest
from fleetkit.databases import transaction
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner.contract import MachineState
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.instants import Instants

BUDGET = 60.0
HOUR = 3600.0
SET_BACK = """
update satellites set state_since = state_since + '1h', idle_since = idle_since + '1h',
    sleep_due = sleep_due + '1h', retry_at = retry_at + '1h', claim_deadline = claim_deadline + '1h'
"""


async def test_a_wake_that_backs_off_is_tried_again_in_time(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    await world.database.execute(
        "update satellites set failure = 'TPR-2202', failures = 1, retry_at = now()"
    )
    await world.database.execute(SET_BACK)
    fleet._reconciler._instants._ahead = float("inf")  # the clock was that far ahead
    longest = f"now() + '{QUICK.longest_back_off} s'"
    await until(
        lambda: world.database.fetchval(f"select max(retry_at) <= {longest} from satellites")
    )
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


async def test_what_has_just_changed_is_compared_with_the_cloud_in_time(world: World) -> None:
    """By its `state_since` it would not have settled for an hour."""
    fleet = await world.node()
    satellite = await world.launched(fleet)
    await world.database.execute(SET_BACK)
    fleet._reconciler._instants._ahead = float("inf")
    world.cloud.machines[satellite.ref].state = MachineState.ASLEEP
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_what_is_idle_falls_asleep_in_time(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet, sleep_after=1)
    await world.database.execute(SET_BACK)
    fleet._reconciler._instants._ahead = float("inf")
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_the_clock_is_looked_at_once_and_when_it_was_set_back(world: World) -> None:
    instants = Instants(world.database, QUICK)
    assert [await instants.correct() for _ in range(3)] == [True, False, False]
    assert instants._ahead is not None
    instants._ahead -= HOUR  # it was set forth
    assert not await instants.correct()
    instants._ahead += HOUR
    assert await instants.correct()
    assert not await instants.correct()


async def test_what_could_not_be_corrected_is_tried_again(world: World) -> None:
    instants = Instants(world.database, QUICK)
    await world.database.execute("alter table orphans rename to away")
    for _ in range(2):
        with pytest.raises(asyncpg.UndefinedTableError):
            await instants.correct()
    await world.database.execute("alter table away rename to orphans")
    assert await instants.correct()


async def test_a_row_that_is_locked_keeps_nobody_waiting(world: World) -> None:
    fleet = await world.node(replace(QUICK, claims_live=600.0, leases_live=600.0, reap=600.0))
    await world.launched(fleet)
    await world.database.execute(SET_BACK)
    async with transaction(world.database) as other:
        await other.execute("select from satellites for update")
        await Instants(world.database, QUICK).correct()
    ahead = "select exists (select from satellites where state_since > now())"
    assert await world.database.fetchval(ahead)
    await Instants(world.database, QUICK).correct()
    assert not await world.database.fetchval(ahead)
