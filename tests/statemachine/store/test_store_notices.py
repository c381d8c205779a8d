"""What happens to satellites is told: a notice is written with it, or not at all."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from fleetkit.databases import transaction

import torpor_provisioner.local
import torpor_provisioner.vm
from torpor_provisioner.errors import Capacity, Denied, Quota, TorporError, catalogue
from torpor_statemachine.errors import recall
from torpor_statemachine.lifecycle.specs import NewSatellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.strays import Strays


async def notices(world: Any) -> list[tuple[str, str, str]]:
    rows = await world.database.fetch("select * from notices order by number")
    return [(row["kind"], row["satellite"], row["failure"][:8]) for row in rows]


async def test_a_wake_that_fails_is_told(world: Any) -> None:
    fleet = await world.node()
    one = await world.asleep(fleet)
    world.cloud.fail("wake", Denied("no"))
    with pytest.raises(Denied):
        await fleet.admit(one.id, actor="a", budget=30)
    assert await notices(world) == [("wake.failed", "one", "TPR-2206")]
    row = await world.database.fetchrow("select * from notices")
    assert (row["org_id"], recall(row["failure"]).detail) == (world.org_id, "no")


def test_which_codes_mean_that_there_is_no_room() -> None:
    """As in migrations/."""
    assert torpor_provisioner.local
    assert torpor_provisioner.vm  # their codes are known where they are imported
    family: set[type[TorporError]] = {Capacity, Quota}
    family |= {*catalogue(Capacity), *catalogue(Quota)}
    assert {each.code for each in family} == {
        *("TPR-2202", "TPR-2204", "TPR-2212", "TPR-2216", "TPR-2217", "TPR-2220")
    }


async def test_a_wake_that_waits_for_room_is_told_once(world: Any) -> None:
    fleet = await world.node()
    one = await world.asleep(fleet)
    world.cloud.fail("wake", *(Capacity("full") for _ in range(3)))
    await fleet.admit(one.id, actor="a", budget=30)
    assert await notices(world) == [("capacity", "one", "TPR-2202")]


async def test_a_launch_that_fails_is_told(world: Any) -> None:
    fleet = await world.node()
    world.cloud.fail("launch", Quota("ten"))
    new = NewSatellite(org_id=world.org_id, name="one", provisioner="cloud")
    one = await fleet.launch(new, actor="test")
    await world.reaches(fleet, one.id, State.FAILED)
    assert await notices(world) == [("capacity", "one", "TPR-2204")]


async def test_a_machine_that_is_lost_is_told(world: Any) -> None:
    fleet = await world.node()
    one = await world.asleep(fleet)
    world.cloud.machines.clear()
    await world.reaches(fleet, one.id, State.FAILED)
    assert await notices(world) == [("machine.lost", "one", "TPR-2205")]


async def test_the_same_is_told_again_after_an_hour(world: Any) -> None:
    add = "select add_notice('capacity', null, '', 'x', 'TPR-2202 full', '1 hour')"
    for _ in range(2):
        await world.database.execute(add)
    assert len(await notices(world)) == 1
    await world.database.execute("update notices set at = at - interval '61 minutes'")
    await world.database.execute(add)
    assert len(await notices(world)) == 2


async def test_a_notice_is_of_the_transaction_that_causes_it(world: Any) -> None:
    fleet = await world.node()
    one = await world.asleep(fleet)
    write = (
        "insert into transitions (satellite_id, epoch, event, source, target)"
        " values ($1, 1, 'lost', 'asleep', 'failed')"
    )
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it is what breaks it off
        async with transaction(world.database) as unfinished:
            await unfinished.execute(write, one.id)
            assert await unfinished.fetchval("select count(*) from notices") == 1
            raise ZeroDivisionError
    assert await notices(world) == []


async def test_strays_are_told_together(world: Any) -> None:
    strays = Strays(world.database)
    machines = {f"vm-{number}": (uuid4(), 1) for number in range(7)}
    await strays.compare("cloud", machines)
    await strays.compare("cloud", machines)
    [(kind, of, _)] = await notices(world)
    assert (kind, of) == ("machine.stray", "")
    text = await world.database.fetchval("select failure from notices")
    assert text == "TPR-2049 of cloud: vm-0, vm-1, vm-2, vm-3, vm-4 and 2 more"
    assert recall(text).code == "TPR-2049"
