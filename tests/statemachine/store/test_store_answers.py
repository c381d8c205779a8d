"""Answers of workers are as good as the machine that gave them."""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import pytest
from fleetkit.world import World
from waiting import until

from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import Changes
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.answers import LARGEST, Answers

LIST, INFO = "/a.B/List", "/a.B/Info"


async def octets(answers: Answers, satellite: Satellite, method: str = LIST) -> bytes | None:
    kept = await answers.last(satellite.id, method)
    return kept.octets if kept is not None else None


async def test_the_newest_answer_is_kept_through_sleep_and_wake(world: World) -> None:
    fleet, answers = await world.node(), Answers(world.database)
    satellite = await world.launched(fleet)
    await answers.keep(satellite.id, satellite.epoch, LIST, b"old")
    first = await answers.last(satellite.id, LIST)
    await answers.keep(satellite.id, satellite.epoch, LIST, b"new")
    await answers.keep(satellite.id, satellite.epoch, INFO, b"other")
    assert await octets(answers, satellite) == b"new"
    last = await answers.last(satellite.id, LIST)
    assert first is not None
    assert last is not None
    assert last.at > first.at
    await fleet.sleep(satellite.id, actor="ann")
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert await octets(answers, satellite) == b"new"
    await fleet.wake(satellite.id, actor="ann")
    await world.reaches(fleet, satellite.id, State.RUNNING)
    assert await octets(answers, satellite) == b"new"
    assert await octets(answers, satellite, INFO) == b"other"


async def test_an_answer_from_before_is_not_kept(world: World) -> None:
    """It may come late, when the machine has been changed already."""
    fleet, answers = await world.node(), Answers(world.database)
    satellite = await world.launched(fleet)
    await answers.keep(satellite.id, satellite.epoch - 1, LIST, b"from before")
    await answers.keep(uuid4(), satellite.epoch, LIST, b"of nobody")
    await fleet.sleep(satellite.id, actor="ann")
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    await answers.keep(satellite.id, satellite.epoch, LIST, b"while it sleeps")
    assert await octets(answers, satellite) is None


async def _has_size(world: World, fleet: Fleet, size: str) -> bool:
    satellite = await world.now(fleet)
    return satellite.state is State.ASLEEP and satellite.size == size


async def test_an_update_drops_it_and_so_does_the_end(world: World) -> None:
    fleet, answers = await world.node(), Answers(world.database)
    satellite = await world.launched(fleet)
    other = await world.launched(fleet, name="other")
    for each in (satellite, other):
        await answers.keep(each.id, each.epoch, LIST, b"old")
        await answers.keep(each.id, each.epoch, INFO, b"old")
    await fleet.sleep(satellite.id, actor="ann")
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    await fleet.update(satellite.id, Changes(size="big"), actor="ann")
    await until(lambda: _has_size(world, fleet, "big"))
    assert await octets(answers, satellite) is None
    assert await octets(answers, satellite, INFO) is None
    assert await octets(answers, other) == b"old"
    await fleet.terminate(other.id, actor="ann")
    await world.reaches(fleet, other.id, State.TERMINATED)
    assert await octets(answers, other) is None


async def test_none_is_larger_than_it_may_be(world: World) -> None:
    fleet, answers = await world.node(), Answers(world.database)
    satellite = await world.launched(fleet)
    await answers.keep(satellite.id, satellite.epoch, LIST, b"x" * LARGEST)
    with pytest.raises(asyncpg.CheckViolationError):
        await answers.keep(satellite.id, satellite.epoch, INFO, b"x" * (LARGEST + 1))
