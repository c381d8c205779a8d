"""What operators do to running nodes, and what they see of them."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from typing import Any

import grpc
import pytest
from e2ekit.deployment import REVOKED_WITHIN, Node, Satellite
from prometheus_client.parser import text_string_to_metric_families
from waiting import LONG, until

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


async def test_a_node_is_drained_from_the_database_and_ends_when_that_is_wanted(torpor) -> None:
    deployment = await torpor(0)
    drained, other = [await deployment.node("--drain", str(LONG)) for _ in range(2)]
    satellite = await deployment.satellite("acme/one")

    async def seen() -> dict[str, dict[str, Any]]:
        """Every node, by where it listens."""
        listed = json.loads(await deployment.torpor("nodes", "ls", "--json"))
        return {each["listens"]: each for each in listed}

    async with drained.channel() as channel:
        running = build(channel, None, ["sleep", "3"], satellite.metadata, within=LONG)
        await anext(running)
        await until(lambda: _streams_of(seen, drained.target, 1))
        name = (await seen())[drained.target]["id"]
        told = await deployment.torpor("drain", name[:8], "--no-wait")
        assert told == f"{name[:8]} drains.\n"
        await until(lambda: _refuses(drained))
        events = [event async for event in running]
    assert events[-1].finished.exit_code == 0, "what is open runs to its end"
    assert await deployment.torpor("drain", name) == f"{name[:8]} has drained.\n"
    states = {listens: each["state"] for listens, each in (await seen()).items()}
    assert states == {drained.target: "drained", other.target: "serving"}
    assert drained.process.returncode is None, "it has other duties"
    async with other.channel() as channel:
        await info(channel, satellite.metadata, within=LONG)
    await deployment.torpor("drain", name, "--end")
    async with asyncio.timeout(LONG):
        assert await drained.process.wait() == 0
    assert list(await seen()) == [other.target]


async def _streams_of(seen: Any, listens: str, count: int) -> bool:
    found = (await seen()).get(listens)  # none before its second heartbeat
    if found is None:
        return False
    return (found["streams"], found["leases"], bool(found["version"])) == (count, 1, True)


async def _refuses(node: Node) -> bool:
    try:
        _, writer = await asyncio.open_connection(*node.address)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_an_operator_wakes_puts_to_sleep_and_removes_any_orgs_satellites(torpor) -> None:
    deployment = await torpor()
    [node] = deployment.nodes
    one, two = await deployment.satellite("acme/one"), await deployment.satellite("acme/two")
    operator = (await deployment.torpor("token", "create", "-", "ops")).strip()
    router = ("--address", node.target, "--token", operator)  # and on the database below
    woken = await deployment.torpor("fleet", "wake", "acme/one", *router)
    assert woken == "acme/one is running\n"
    [seen] = json.loads(await deployment.torpor("nodes", "ls", "--json", *router))
    assert seen["state"] == "serving"
    await deployment.torpor("pause-sleep", "on", "--for", "1h", "--reason", "a look")
    inspected = await deployment.torpor("fleet", "inspect", "acme/one")
    assert "TPR-2030" in inspected
    assert "a look" in inspected
    slept = json.loads(await deployment.torpor("fleet", "sleep", "acme/one", "--json"))
    assert (slept["state"], deployment.wakes(one)) == ("asleep", 1)
    log = json.loads(await deployment.torpor("fleet", "history", "acme/one", "--json"))
    assert {
        step["actor"].partition(":")[0] for step in log if step["event"] in ("wake", "sleep")
    } == {"operator", "shell"}
    ended = await deployment.torpor("fleet", "rm", "acme/two", "--yes")
    assert ended == "acme/two is terminated\n"
    async with node.channel() as channel:
        running = build(channel, None, ["sleep", "1000"], one.metadata, within=LONG)
        await anext(running)
        assert await deployment.torpor("org", "rm", "acme", "--yes") == "Removed acme.\n"
        with pytest.raises(grpc.aio.AioRpcError, match="TPR-"):
            async for _ in running:
                pass
    await deployment.becomes(one, "terminated")
    assert {call.ref for call in deployment.calls if call.call == "terminate"} == {one.ref, two.ref}
    assert json.loads(await deployment.torpor("org", "ls", "--json")) == []
    acts = await deployment.torpor("audit", "--json", "--org", "acme")
    assert [json.loads(line)["action"] for line in acts.splitlines()] == [
        *("Satellites.Wake", "Satellites.Sleep", "Satellites.Terminate", "Operators.RemoveOrg")
    ]
