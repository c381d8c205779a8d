"""Local workers as callers of the door meet them: one that cannot run, and one on a socket."""

from __future__ import annotations

import grpc
import pytest
from e2ekit.deployment import Deployment
from waiting import LONG

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.sample.client import info


async def test_a_worker_that_dies_at_its_start_is_told_of_and_started_once(torpor) -> None:
    deployment: Deployment = await torpor(
        LOCAL_WORKER_BROKEN="sh -c 'if [ -e once ]; then echo no disk left; exit 3; fi;"
        " touch once; exec sleep 100000'"
    )
    [node] = deployment.nodes
    broken = await deployment.satellite(
        "acme/broken", worker="broken", asleep=SleepKind.STOPPED, answers_first=False
    )
    async with node.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await info(channel, broken.metadata, within=LONG)
    told = failed.value.details() or ""
    assert told.startswith("TPR-2210 "), told
    assert "exit code 3" in told
    assert "no disk left" in told
    assert deployment.wakes(broken) == 1, "the call that told of it started nothing"
    assert await deployment.state(broken) == "asleep"


async def test_the_sample_worker_is_woken_and_reached_on_its_socket(torpor) -> None:
    deployment: Deployment = await torpor()
    [node] = deployment.nodes
    one = await deployment.satellite("acme/one")
    assert one.address.is_path
    async with node.channel() as channel:
        assert (await info(channel, one.metadata, within=LONG)).pid
