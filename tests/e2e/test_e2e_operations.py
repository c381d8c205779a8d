"""What operators do to running nodes, and what they see of them."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request

import grpc
import pytest
from e2ekit.deployment import REVOKED_WITHIN, Node, Satellite
from prometheus_client.parser import text_string_to_metric_families
from waiting import LONG

from torpor_provisioner.sample.client import build, info


async def last_granted(node: Node, satellite: Satellite) -> float:
    """Ask all the time, on one connection, until refused; when the last success was asked for."""
    granted: list[float] = []

    async def ask(channel: grpc.aio.Channel) -> None:
        while True:
            asked = asyncio.get_running_loop().time()
            await info(channel, satellite.metadata, within=LONG)
            granted.append(asked)
            await asyncio.sleep(0.02)

    async with node.channel() as channel, asyncio.timeout(LONG):
        with pytest.raises(grpc.aio.AioRpcError, match="TPR-1102") as refused:
            await ask(channel)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return max(granted, default=0.0)


async def test_a_revoked_token_opens_nothing_on_any_node_after_two_seconds(torpor) -> None:
    deployment = await torpor(2)
    satellite = await deployment.satellite("acme/one")
    asking = [asyncio.create_task(last_granted(node, satellite)) for node in deployment.nodes]
    async with deployment.nodes[0].channel() as channel:
        running = build(channel, None, ["sleep", "4"], satellite.metadata, within=LONG)
        await anext(running)
        await deployment.torpor("token", "revoke", "acme", "test")
        revoked = asyncio.get_running_loop().time()
        assert max(await asyncio.gather(*asking)) - revoked < REVOKED_WITHIN
        events = [event async for event in running]
    assert events[-1].finished.exit_code == 0, "what was open goes on"


async def test_metrics_and_log_lines_of_a_held_build(torpor) -> None:
    deployment = await torpor(0, LOCAL_RESUME_DELAY=1)
    node = await deployment.node("--metrics", "127.0.0.1:0", "--log-format", "json")
    satellite = await deployment.satellite("acme/one")
    async with node.channel() as channel:
        await info(channel, satellite.metadata, within=LONG)
    stranger = Satellite(satellite.id, "acme/one", "", satellite.address, "tpr_" + "x" * 43)
    async with node.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="TPR-1101"):
            await info(channel, stranger.metadata, within=LONG)

    text = node.log.read_text()
    assert satellite.token not in text
    assert stranger.token not in text
    lines = [json.loads(line) for line in text.splitlines()]
    [refusal] = [line for line in lines if line["message"] == "refused"]
    assert refusal["code"] == "TPR-1101"
    assert refusal["peer"].startswith("127.0.0.1:")
    [address] = [
        found[1] for line in lines if (found := re.search(r"at (http:\S+)", line["message"]))
    ]

    def scrape() -> str:
        with urllib.request.urlopen(address, timeout=LONG) as response:
            return response.read().decode()

    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(await asyncio.to_thread(scrape))
        for sample in family.samples
    }
    assert samples["torpor_hold_duration_seconds_count", "released", "resumed"] == 1
    assert samples["torpor_hold_duration_seconds_sum", "released", "resumed"] >= 1
    assert samples["torpor_wake_duration_seconds_count", "resumed"] == 1
    assert samples["torpor_refusals_total", "TPR-1101"] == 1
    assert samples["torpor_satellites", "running"] == 1
    assert samples["torpor_streams_total",] == 1
    assert samples["torpor_held_requests",] == 0
    assert samples["torpor_database_up",] == 1
    transitions = {key[1:] for key in samples if key[0] == "torpor_transitions_total"}
    assert len(transitions) >= 2, "the wake's claim and its completion"
