"""Streams cost no query, and each is told of once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from fleetkit.world import QUICK, World
from pgkit.wire import Wire
from waiting import until

from torpor_statemachine.node import traffic as traffic_module
from torpor_statemachine.node.traffic import Traffic
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.usage import Seen, Usage

QUIET = replace(QUICK, count=3600.0)


class Told:
    """Answers as it is told to; a lost answer had its effect."""

    def __init__(self) -> None:
        self.parts: dict[int, dict[UUID, Seen]] = {}
        self.answers: list[bool | Exception] = []

    async def add(self, node_id: UUID, part: int, seen: dict[UUID, Seen]) -> bool:
        answer = self.answers.pop(0) if self.answers else True
        if answer is not False:
            assert self.parts.setdefault(part, dict(seen)) == seen, "a part changed on its way"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def streams(self) -> int:
        return sum(seen.streams for part in self.parts.values() for seen in part.values())


async def test_what_was_not_answered_is_told_again_as_it_was() -> None:
    told, one = Told(), uuid4()
    counted = Traffic(told, uuid4(), 1.0)  # type: ignore[arg-type]
    counted.came(one)
    told.answers = [DatabaseAway("its answer was lost"), False]
    with pytest.raises(DatabaseAway):
        await counted.flush()
    counted.came(one)
    await counted.flush()
    assert told.streams() == 1
    await counted.flush()
    await counted.flush()
    assert (told.streams(), sorted(told.parts)) == (2, [1, 2])


async def test_very_many_are_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_module, "PART", 7)
    told = Told()
    counted = Traffic(told, uuid4(), 1.0)  # type: ignore[arg-type]
    for _ in range(30):
        counted.came(uuid4())
    await counted.flush()
    assert [len(part) for part in told.parts.values()] == [7, 7, 7, 7, 2]
    assert told.streams() == 30


async def test_a_node_counts_hot_streams_and_held_ones(world: World) -> None:
    fleet = await world.node(QUIET)
    satellite = await world.asleep(fleet)
    await asyncio.gather(*(fleet.admit(satellite.id, actor="x", budget=60.0) for _ in range(3)))
    asked = fleet._database.queries
    for _ in range(50):
        assert fleet.enter(satellite.id) is not None
    assert fleet._traffic._streams[satellite.id] == 53
    for _ in range(53):
        fleet.leave(satellite.id)
    await world.node(QUIET)  # another lives on
    await fleet.aclose()  # which tells the last of it
    now = await world.database.fetchval("select now()")
    days = await Usage(world.database).days(now.date().replace(day=1), now.date())
    assert sum(day.streams for day in days) == 53
    assert sum(day.held for day in days) > 0
    assert asked > 0


async def test_what_was_counted_while_the_database_was_away_is_told_after_it(
    world: World, wire: Wire
) -> None:
    fleet = await world.node(replace(QUICK, count=0.1), url=wire.url)
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=60.0)
    await wire.cut()
    for _ in range(9):
        assert fleet.enter(satellite.id) is not None
    await wire.mend()

    async def all_are_told() -> bool:
        told = await world.database.fetchval("select sum(streams)::int from satellite_hours")
        return bool(told == 10)

    await until(all_are_told)
    for _ in range(10):
        fleet.leave(satellite.id)
