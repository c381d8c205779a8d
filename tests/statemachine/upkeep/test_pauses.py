"""While an operator has paused sleep, nothing idle is put to sleep; then it goes on by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from waiting import until

from torpor_statemachine.errors import BadPause
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.pauses import LONGEST, Pauses

HOUR = timedelta(hours=1)


async def due(world: Any, satellite_id: object) -> None:
    async def is_due() -> bool:
        asked = "select sleep_due <= now() from satellites where id = $1"
        return bool(await world.database.fetchval(asked, satellite_id))

    await until(is_due)


@pytest.mark.parametrize("of_org", [True, False])
async def test_a_paused_satellite_stays_awake_and_says_why(world: Any, of_org: bool) -> None:
    fleet, pauses = await world.node(), Pauses(world.database)
    org_id = world.org_id if of_org else None
    await pauses.on(org_id, HOUR, "moving the network", "shell:ann")
    satellite = await world.launched(fleet, sleep_after=1)
    await due(world, satellite.id)
    for _ in range(3):
        assert await fleet._reaper.reap() == 0
    shown = await fleet.find(world.org_id, "one")
    assert shown.state is State.RUNNING
    assert shown.obstacle.startswith("TPR-2030 until ")
    assert shown.obstacle.endswith(" UTC, shell:ann: moving the network")
    await world.database.execute("update sleep_pauses set until = now()")
    assert await pauses.all() == []
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_a_pause_of_one_org_is_not_anothers(world: Any) -> None:
    fleet, pauses = await world.node(), Pauses(world.database)
    other = uuid4()
    await world.database.execute("insert into orgs (id, name) values ($1, 'other')", other)
    await pauses.on(other, HOUR, "theirs", "shell:ann")
    satellite = await world.launched(fleet, sleep_after=1)
    assert (await fleet.find(world.org_id, "one")).obstacle is None
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_what_is_asked_for_by_name_sleeps_all_the_same(world: Any) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    await Pauses(world.database).on(None, HOUR, "work", "shell:ann")
    await fleet.sleep(satellite.id, actor="ann")
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_a_later_pause_takes_the_place_of_the_one_before(world: Any) -> None:
    pauses = Pauses(world.database)
    for reason in ("first", "second"):
        await pauses.on(None, HOUR, reason, "shell:ann")
        await pauses.on(world.org_id, HOUR, reason, "shell:ann")
    assert [(each.org, each.reason) for each in await pauses.all()] == [
        (None, "second"),
        ("acme", "second"),
    ]
    assert await pauses.off(None)
    assert not await pauses.off(None)
    assert [each.org for each in await pauses.all()] == ["acme"]


@pytest.mark.parametrize(
    ("lasts", "reason"),
    [
        (LONGEST + HOUR, "x"),
        (timedelta(), "x"),
        (HOUR, ""),
        (HOUR, " "),
        (HOUR, "x" * 201),
        (HOUR, "a\nb"),
    ],
)
async def test_what_is_no_pause(world: Any, lasts: timedelta, reason: str) -> None:
    with pytest.raises(BadPause):
        await Pauses(world.database).on(None, lasts, reason, "shell:ann")
