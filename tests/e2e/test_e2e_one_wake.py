"""Many requests, several nodes, one wake."""

from __future__ import annotations

import asyncio

from e2ekit.deployment import Node, Satellite
from waiting import LONG

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.sample.client import build, info

REQUESTS = 200


async def built(node: Node, satellite: Satellite) -> int:
    """One build on a connection of its own; its exit code."""
    async with node.channel() as channel:
        async for event in build(channel, None, ["true"], satellite.metadata, within=LONG):
            if event.HasField("finished"):
                return event.finished.exit_code
    raise AssertionError("the build did not finish")


async def test_200_builds_through_two_nodes_make_one_wake(torpor) -> None:
    deployment = await torpor(2, LOCAL_RESUME_DELAY=1)
    satellite = await deployment.satellite("acme/one")
    codes = await asyncio.gather(
        *(built(deployment.nodes[number % 2], satellite) for number in range(REQUESTS))
    )
    assert codes == [0] * REQUESTS
    async with deployment.nodes[0].channel() as channel:
        told = await info(channel, satellite.metadata, within=LONG)
    assert told.counter == REQUESTS, "each build reached the worker once"
    assert deployment.wakes(satellite) == 1
    wakes = [row for row in await deployment.transitions(satellite) if row["wake_kind"]]
    assert [row["wake_kind"] for row in wakes] == ["resumed"]


async def test_a_node_killed_in_a_wake_is_replaced_by_another(torpor) -> None:
    deployment = await torpor(2, LOCAL_RESUME_DELAY=3)
    waker, survivor = deployment.nodes
    satellite = await deployment.satellite("acme/one", asleep=SleepKind.HIBERNATED)
    lost = asyncio.create_task(built(waker, satellite))
    await deployment.becomes(satellite, "waking")
    [claim] = await deployment.fetch("select epoch, claimed_by from satellites")
    held = [asyncio.create_task(built(survivor, satellite)) for _ in range(5)]
    await waker.kill()
    assert await asyncio.gather(*held) == [0] * 5
    [result] = await asyncio.gather(lost, return_exceptions=True)
    assert isinstance(result, Exception)
    assert deployment.wakes(satellite) == 1, "the machine was not asked twice"
    [after] = await deployment.fetch("select state, epoch, claimed_by from satellites")
    assert after["state"] == "running"
    assert after["epoch"] > claim["epoch"], "the claim was taken over"
