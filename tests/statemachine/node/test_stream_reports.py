"""Whose streams keep a satellite awake: reported by its nodes, read by people."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from fleetkit.databases import transaction
from fleetkit.world import QUICK, World
from waiting import until

from torpor_statemachine import clock
from torpor_statemachine.errors import RouterSilent, SatelliteBusy
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.node import stream_reports
from torpor_statemachine.node.stream_reports import KeptAwake, Open
from torpor_statemachine.store.keeping import Report

SOLVE = "/moby.buildkit.v1.Control/Solve"


def building(*, count: int = 1, age: float = 90.0) -> Open:
    return Open("token:ci", SOLVE, "10.0.0.7", count, clock.now() - age)


async def kept_awake(world: World, fleet: Fleet, *open_: Open) -> Satellite:
    """A satellite with as many streams open through `fleet` as that says."""
    satellite = await world.launched(fleet)
    fleet.look_at_streams(lambda _: open_)
    for _ in range(sum(each.number for each in open_) or 1):
        await fleet.admit(satellite.id, actor="token:ci", budget=30)
    return satellite


async def reported(world: World, fleet: Fleet) -> Satellite:
    async def is_told() -> bool:
        keepers = (await world.now(fleet)).keepers
        return bool(keepers) and keepers[0].count is not None

    await until(is_told)
    return await world.now(fleet)


async def test_another_node_knows_whose_streams_are_open_and_since_when(world: World) -> None:
    one, two = await world.node(), await world.node()
    await kept_awake(world, one, building(count=2))
    [keeper] = (await reported(world, two)).keepers
    assert (keeper.node_id, keeper.count, keeper.is_silent) == (one.node_id, 2, False)
    [streams] = keeper.streams
    assert (streams.caller, streams.method, streams.peer) == ("token:ci", SOLVE, "10.0.0.7")
    assert keeper.reported_at is not None
    assert 90 <= (keeper.reported_at - streams.since).total_seconds() < 300
    [listed] = await two.list(world.org_id)
    assert [each.streams for each in listed.keepers] == [(streams,)]


async def test_a_refused_sleep_says_whose_streams_they_are(world: World) -> None:
    fleet = await world.node()
    satellite = await kept_awake(world, fleet, building())
    await reported(world, fleet)
    wanted = rf"TPR-2001 .*acme/one: 1 stream of token:ci {SOLVE} from 10\.0\.0\.7 since 20.* UTC"
    with pytest.raises(SatelliteBusy, match=wanted):
        await fleet.sleep(satellite.id, actor="x")
    with pytest.raises(SatelliteBusy, match=wanted):
        await fleet.terminate(satellite.id, actor="x")


async def test_what_a_dead_node_held_is_told_with_how_long_and_until_when(world: World) -> None:
    fleet = await world.node(replace(QUICK, leases_live=600.0))
    satellite = await world.launched(fleet)
    dead = uuid4()
    await world.database.execute(
        """
        insert into nodes (id, expires_at, leases_until)
        values ($1, now() - interval '13 s', now() + interval '40 s')
        """,
        dead,
    )
    await world.database.execute(
        """
        insert into leases (satellite_id, node_id, streams, reported_at)
        values ($1, $2, $3, now() - interval '30 s')
        """,
        satellite.id,
        dead,
        '{"count": 3, "by": [["token:ci", "/a.B/C", "10.0.0.9", 1, 5.0]]}',
    )
    await world.database.execute("update satellites set idle_since = null, sleep_due = null")
    heard = 13 + QUICK.claims_live
    wanted = (
        rf"1 stream of token:ci /a\.B/C from 10\.0\.0\.9 since .* UTC; 2 more;"
        rf" held by router {str(dead)[:8]}, not heard of for \d+ s: its leases end in [34]\d s, at"
    )
    with pytest.raises(RouterSilent, match=wanted):
        await fleet.sleep(satellite.id, actor="x")
    [keeper] = (await world.now(fleet)).keepers
    assert keeper.is_silent
    assert keeper.silent_for >= timedelta(seconds=heard)


async def test_what_has_not_changed_is_not_told_again(world: World) -> None:
    fleet = await world.node()
    satellite = await kept_awake(world, fleet, building())
    first = (await reported(world, fleet)).keepers[0].reported_at
    await fleet._reporter.report()
    await fleet._reporter.report()
    assert (await world.now(fleet)).keepers[0].reported_at == first
    fleet.leave(satellite.id)  # and a lease that is taken anew is told of anew
    await until(lambda: _unleased(world))
    await fleet.admit(satellite.id, actor="token:ci", budget=30)
    assert (await reported(world, fleet)).keepers[0].reported_at != first


async def test_the_node_knows_how_much_it_keeps_awake(world: World) -> None:
    fleet = await world.node()
    assert fleet.kept_awake == KeptAwake()
    young, old = building(count=2), building(age=7200.0)
    await kept_awake(world, fleet, old, young)  # the oldest first, as the door has them
    await until(lambda: _keeps(fleet, 3))
    assert (fleet.kept_awake.satellites, fleet.kept_awake.oldest) == (1, old.since)


async def _keeps(fleet: Fleet, streams: int) -> bool:
    return fleet.kept_awake.streams == streams


async def _unleased(world: World) -> bool:
    return not await world.database.fetchval("select exists (select from leases)")


async def test_more_than_a_part_is_told_bit_by_bit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reports, "PART", 2)
    fleet = await world.node()
    for number in range(5):
        satellite = await world.launched(fleet, f"s{number}")
        await fleet.admit(satellite.id, actor="token:ci", budget=30)

    async def all_told() -> bool:
        return all(
            each.keepers and each.keepers[0].count == 1 for each in await fleet.list(world.org_id)
        )

    await until(all_told)


async def test_a_lease_that_is_locked_has_its_turn_later(world: World) -> None:
    fleet = await world.node()
    satellite = await kept_awake(world, fleet, building())
    await reported(world, fleet)
    other = Report(satellite.id, 7, ())
    async with transaction(world.database) as connection:
        await connection.execute("select from leases for update")
        assert await fleet._reporter._keeping.report([other]) == set()
    assert await fleet._reporter._keeping.report([other]) == {satellite.id}


async def test_of_a_node_of_an_older_version_nothing_is_known(world: World) -> None:
    fleet = await world.node()
    satellite: UUID = (await kept_awake(world, fleet)).id
    await reported(world, fleet)
    await world.database.execute("update leases set streams = null, reported_at = null")
    [keeper] = (await world.now(fleet)).keepers
    assert keeper.count is None
    with pytest.raises(SatelliteBusy, match="streams not reported yet"):
        await fleet.sleep(satellite, actor="x")
