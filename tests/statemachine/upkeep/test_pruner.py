"""Old steps and satellites go, in small parts, and no day that was counted loses anything."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest
from fleetkit.databases import transaction
from fleetkit.world import QUICK, World

from torpor_statemachine.postgres.pool import Database, DatabaseAway
from torpor_statemachine.store import pruning
from torpor_statemachine.store.pruning import Pruning
from torpor_statemachine.store.turns import Turns
from torpor_statemachine.store.usage import Usage
from torpor_statemachine.upkeep import pruner
from torpor_statemachine.upkeep.pruner import Pruner

CONFIG = replace(QUICK, history_days=30, usage_days=400)
FAR = (date(2020, 1, 1), date(2060, 1, 1))
_OLD = """
insert into transitions (satellite_id, epoch, event, source, target, at)
select $1, n, 'woke', 'asleep', 'running', now() - interval '1 day' * n
from generate_series($2::int, $3::int, -1) n
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 10)
    monkeypatch.setattr(pruner, "BREATH", 0.0)


def _pruner(database: Database) -> Pruner:
    return Pruner(Turns(database), Pruning(database), CONFIG)


async def _made(world: World, name: str, state: str = "asleep", days: int = 0) -> UUID:
    made: UUID = await world.database.fetchval(
        """insert into satellites (org_id, name, provisioner, arch, state, state_since, created_at)
        values ($1, $2, 'cloud', 'x86_64', 'asleep', now() - interval '1 day' * ($3 + 2),
            now() - interval '400 days') returning id""",
        *(world.org_id, name, days),
    )
    if state != "asleep":
        await world.database.execute(
            "update satellites set state = $2, state_since = now() - interval '1 day' * $3"
            " where id = $1",
            *(made, state, days),
        )
    return made


async def _steps(world: World, satellite_id: UUID) -> list[int]:
    rows = await world.database.fetch(
        "select epoch from transitions where satellite_id = $1 order by id", satellite_id
    )
    return [row["epoch"] for row in rows]


async def test_old_steps_go_but_for_the_last_of_each_satellite(world: World) -> None:
    busy, resting = await _made(world, "busy"), await _made(world, "resting")
    await world.database.execute(_OLD, resting, 60, 35)
    await world.database.execute(_OLD, busy, 60, 1)
    await _pruner(world.database).prune()
    assert await _steps(world, busy) == list(range(29, 0, -1))
    assert await _steps(world, resting) == [35]


async def test_terminated_satellites_go_and_their_days_stay(world: World) -> None:
    gone = [await _made(world, f"gone-{n}", "terminated", 31 + n) for n in range(5)]
    kept = [await _made(world, "late", "terminated", 29), await _made(world, "asleep", days=50)]
    for each in (*gone, *kept):
        await world.database.execute(_OLD, each, 90, 80)
    before = {
        (day.satellite_id, day.day): day.seconds for day in await Usage(world.database).days(*FAR)
    }
    await _pruner(world.database).prune()
    left = await world.database.fetch("select id from satellites")
    assert {row["id"] for row in left} == {*kept}
    after = await Usage(world.database).days(*FAR)
    counted = {(day.satellite_id, day.day): day.seconds for day in after}
    assert {each for each, _ in counted} == {*gone, *kept}
    assert {key: counted[key] for key in before if key[0] in gone} == {
        key: seconds for key, seconds in before.items() if key[0] in gone
    }


async def test_several_nodes_at_once_prune_once(world: World) -> None:
    await world.database.execute(_OLD, busy := await _made(world, "busy"), 90, 1)
    nodes = [_pruner(world.database) for _ in range(4)]
    await asyncio.gather(*(node.prune(3600.0) for node in nodes))
    assert await _steps(world, busy) == list(range(29, 0, -1))
    # and four that all take themselves to be the only one
    await world.database.execute(_OLD, other := await _made(world, "other"), 90, 1)
    await asyncio.gather(*(node.prune() for node in nodes))
    assert await _steps(world, other) == list(range(29, 0, -1))


async def test_a_pruner_killed_midway_leaves_the_rest_to_the_next_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.database.execute(_OLD, busy := await _made(world, "busy"), 90, 1)
    real, times = Pruning.transitions, iter(range(100))

    async def dies(self: Pruning, *given: object) -> object:
        if next(times) == 3:
            raise DatabaseAway("now")
        return await real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Pruning, "transitions", dies)
    with pytest.raises(DatabaseAway):
        await _pruner(world.database).prune()
    assert len(await _steps(world, busy)) == 60
    await _pruner(world.database).prune()
    assert await _steps(world, busy) == list(range(29, 0, -1))


async def test_what_is_locked_is_left_for_the_next_time(world: World) -> None:
    """Somebody reads or removes it now; nobody waits."""
    locked = await _made(world, "locked", "terminated", 40)
    await _made(world, "free", "terminated", 40)
    async with transaction(world.database) as connection:
        await connection.execute("select from satellites where id = $1 for update", locked)
        await _pruner(world.database).prune()
        rows = await world.database.fetch("select id from satellites")
        assert [row["id"] for row in rows] == [locked]
    await _pruner(world.database).prune()
    assert await world.database.fetchval("select count(*) from satellites") == 0


async def test_totals_go_after_a_longer_time(world: World) -> None:
    await _made(world, "old", "terminated", 390)  # made 392 days ago
    await world.database.execute(
        """insert into satellite_hours (satellite_id, hour, streams)
        select gen_random_uuid(), now() - interval '1 day' * n, 1
        from generate_series(380, 420) n"""
    )
    await world.database.execute(
        "update satellite_days set day = day - 9 where day = (select min(day) from satellite_days)"
    )
    await _pruner(world.database).prune()
    assert await world.database.fetchval("select count(*) from satellite_days") == 2
    assert await world.database.fetchval("select count(*) from satellite_hours") == 20
