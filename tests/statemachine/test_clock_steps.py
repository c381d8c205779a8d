"""The database's clock is set forth while nodes work: all look dead and late by it, and none is."""

from __future__ import annotations

import asyncio

import pytest
from fleetkit.world import QUICK, Steps, World, believe_server
from waiting import until

from torpor_statemachine.lifecycle.states import State

BUDGET = 60.0
FORTH = (5.0, 3600.0)  # beyond what claims live; beyond leases and every deadline


@pytest.mark.parametrize("by", FORTH)
async def test_a_wake_under_way_is_left_to_its_node(world: World, by: float) -> None:
    steps = await Steps.made(world.database)
    nodes = [await world.node() for _ in range(3)]
    busy = nodes[0]
    satellite = await world.asleep(busy)
    gate = world.cloud.hold("wake")
    await busy.wake(satellite.id, actor="x")
    await world.entered("wake")
    claimed = await world.now(busy)
    await asyncio.gather(*(node._node.beat() for node in nodes))
    await steps.set(by)
    for _ in range(3):
        for node in nodes:
            await node._reconciler.take_over()
            await node._node.next_beat()
    await until(lambda: all(node._node.latest() > 0 for node in nodes))
    for node in nodes:
        await node._reconciler.take_over()
    gate.set()
    running = await world.reaches(busy, satellite.id, State.RUNNING)
    assert running.epoch == claimed.epoch
    assert "took_over" not in await world.events(busy, satellite.id)
    assert world.cloud.entered["wake"] == 1
    assert busy._node.term == 1


async def test_a_node_that_died_at_the_clocks_step_is_found_dead(world: World) -> None:
    steps = await Steps.made(world.database)
    dying, other = await world.node(), await world.node()
    satellite = await world.asleep(dying)
    gate = world.cloud.hold("wake")
    await dying.wake(satellite.id, actor="x")
    await world.entered("wake")
    await world.kill(dying)
    await steps.set(3600.0)
    gate.set()
    await world.reaches(other, satellite.id, State.RUNNING)
    assert "took_over" in await world.events(other, satellite.id)


async def test_a_stream_is_not_slept_under(world: World) -> None:
    """By the new time its lease has ended, and another node gives one up beside it."""
    steps = await Steps.made(world.database)
    nodes = holding, other = await world.node(), await world.node()
    satellite = await world.launched(holding, sleep_after=1)
    for node in nodes:
        await node.admit(satellite.id, actor="x", budget=BUDGET)
        await believe_server(node)
    await steps.set(3600.0)
    await other._lease_keeper._leases.drop([satellite.id], 10.0)
    other.leave(satellite.id)
    for _ in range(3):
        for node in nodes:
            await node._reconciler.sweep()
            await node._reaper.reap()
            await node._node.next_beat()
    await until(lambda: all(node._node.latest() > 0 for node in nodes))
    await asyncio.sleep(QUICK.after_wake)  # and what may be due by now is
    for node in nodes:
        await node._reaper.reap()
    assert "sleep" not in await world.events(other, satellite.id)
    leases = await world.database.fetch("select node_id from leases")
    assert [row["node_id"] for row in leases] == [holding.node_id]
    holding.leave(satellite.id)
    await world.reaches(holding, satellite.id, State.ASLEEP)
