"""Labels, and launches that are repeated."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fleetkit.world import World

from torpor_statemachine.errors import NameTaken, RequestReused
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite


async def test_labels_are_merged_and_an_empty_value_removes_one(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    await fleet.update(satellite.id, Changes(labels={"team": "web", "tier": "ci"}), actor="x")
    await fleet.update(satellite.id, Changes(labels={"tier": "", "a/b": "c"}), actor="x")
    assert (await world.now(fleet)).labels == {"team": "web", "a/b": "c"}
    last = (await fleet.history(satellite.id, 1))[0]
    assert (last.event, last.detail) == ("changed", "label a/b=c, label tier=")


async def test_a_request_that_is_repeated_makes_one_satellite(world: World) -> None:
    one, two = await world.node(), await world.node()
    new = NewSatellite(
        org_id=world.org_id, name="one", provisioner="cloud", labels={"a": "b"}, request_id="r1"
    )
    made = await asyncio.gather(*(each.launch(new, actor="x") for each in (one, two, one, two)))
    assert len({each.id for each in made}) == 1
    assert made[0].labels == {"a": "b"}
    with pytest.raises(RequestReused, match="TPR-2023"):
        await one.launch(replace(new, name="two"), actor="x")
    with pytest.raises(NameTaken):
        await one.launch(replace(new, request_id="r2"), actor="x")
    with pytest.raises(NameTaken):
        await one.launch(replace(new, request_id=""), actor="x")
