"""Each refusal has its status, its code and its time, and disturbs nobody else."""

from __future__ import annotations

import asyncio
import re

import grpc
import pytest
from e2ekit.deployment import Deployment, Node, Satellite
from waiting import LONG

from torpor_provisioner.sample.client import info


async def refused(node: Node, metadata: object) -> tuple[grpc.StatusCode, str]:
    """The status, and the code in its message."""
    async with node.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await info(channel, metadata, within=LONG)  # type: ignore[arg-type]
    found = re.match(r"(TPR-\d{4}) .+\. .+", failed.value.details() or "")
    assert found, failed.value.details()
    return failed.value.code(), found[1]


@pytest.fixture
async def house(torpor) -> tuple[Deployment, Satellite]:
    deployment = await torpor()
    return deployment, await deployment.satellite("acme/one")


async def test_strangers_are_refused_at_once_and_wake_nothing(house) -> None:
    deployment, satellite = house
    [node] = deployment.nodes
    theirs = await deployment.token("globex")
    asked = {
        "no token": [("satellite", "acme/one")],
        "a wrong token": [("satellite", "acme/one"), ("authorization", "Bearer wrong")],
        "another org's": [("satellite", "acme/one"), ("authorization", f"Bearer {theirs}")],
        "unknown": [("satellite", "acme/none"), ("authorization", f"Bearer {satellite.token}")],
        "no satellite": [("authorization", f"Bearer {satellite.token}")],
        "a bad name": [("satellite", "acme"), ("authorization", f"Bearer {satellite.token}")],
    }
    async with asyncio.timeout(LONG / 2):
        told = {why: await refused(node, metadata) for why, metadata in asked.items()}
    assert {why: code for why, (code, _) in told.items()} == {
        "no token": grpc.StatusCode.UNAUTHENTICATED,
        "a wrong token": grpc.StatusCode.UNAUTHENTICATED,
        "another org's": grpc.StatusCode.PERMISSION_DENIED,
        "unknown": grpc.StatusCode.NOT_FOUND,
        "no satellite": grpc.StatusCode.INVALID_ARGUMENT,
        "a bad name": grpc.StatusCode.INVALID_ARGUMENT,
    }
    assert len({code for _, code in told.values()}) == len(told), "each has a code of its own"
    assert deployment.wakes(satellite) == 0
    assert await deployment.state(satellite) == "asleep"


async def test_a_worker_that_never_comes_up_fails_within_the_budget(torpor) -> None:
    deployment = await torpor(HOLD_BUDGET=3, LOCAL_WORKER_MUTE="sleep 100000")
    [node] = deployment.nodes
    well = await deployment.satellite("acme/well")
    mute = await deployment.satellite("acme/mute", worker="mute", answers_first=False)
    begun = asyncio.get_running_loop().time()
    waiting = [asyncio.create_task(refused(node, mute.metadata)) for _ in range(3)]
    async with node.channel() as channel:
        told = await info(channel, well.metadata, within=LONG)
    assert told.pid, "the other satellite is not held up"
    for code, _ in await asyncio.gather(*waiting):
        assert code is grpc.StatusCode.UNAVAILABLE
    took = asyncio.get_running_loop().time() - begun
    assert 2.5 < took < LONG / 2
    assert deployment.wakes(mute) == 1
