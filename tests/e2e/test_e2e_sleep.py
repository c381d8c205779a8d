"""What a sleep keeps, seen through the door."""

from __future__ import annotations

import asyncio
import os
import signal

import grpc
import pytest
from e2ekit.deployment import Deployment, Satellite
from waiting import LONG, until

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.sample.client import build, info
from torpor_provisioner.sample.v1 import builder_pb2 as pb


async def used(deployment: Deployment, satellite: Satellite) -> pb.InfoReply:
    """Build something that leaves a file in the cache; what the worker remembers then."""
    async with deployment.nodes[0].channel() as channel:
        command = ["sh", "-c", 'mktemp "$TORPOR_CACHE/XXXXXX"']
        async for _ in build(channel, None, command, satellite.metadata, within=LONG):
            pass
        return await info(channel, satellite.metadata, within=LONG)


@pytest.mark.parametrize("how", SleepKind)
async def test_memory_after_a_freeze_and_disk_after_a_stop(torpor, how: SleepKind) -> None:
    deployment = await torpor()
    satellite = await deployment.satellite("acme/one", asleep=how, sleep_after=0.5)
    before = await used(deployment, satellite)
    await deployment.becomes(satellite, "asleep")
    after = await used(deployment, satellite)
    assert (after.builds_done, after.cache_entries) == (2, 2)
    if how is SleepKind.HIBERNATED:
        assert (after.counter, after.pid) == (2, before.pid)
        assert after.booted_at == before.booted_at
    else:
        assert after.counter == 1
        assert after.booted_at.ToNanoseconds() > before.booted_at.ToNanoseconds()
    sleeps = [call.how for call in deployment.calls if call.call == "sleep"]
    assert set(sleeps) == {str(how)}
    kinds = [row["wake_kind"] for row in await deployment.transitions(satellite)]
    expected = "resumed" if how is SleepKind.HIBERNATED else "started"
    assert [kind for kind in kinds if kind] == [expected] * 2


async def test_an_open_stream_keeps_it_awake(torpor, tmp_path) -> None:
    deployment = await torpor()
    satellite = await deployment.satellite("acme/one", sleep_after=0.5)
    gate = tmp_path / "gate"
    async with deployment.nodes[0].channel() as channel:
        command = ["sh", "-c", f"echo up; until [ -e {gate} ]; do sleep 0.1; done; echo done"]
        lines = []
        async for event in build(channel, None, command, satellite.metadata, within=LONG):
            if event.HasField("line"):
                lines.append(event.line.text)
            if lines == [b"up"]:
                # Another satellite, idle as long, falls asleep: the reaper has been here.
                other = await deployment.satellite("acme/two", sleep_after=0.5)
                await used(deployment, other)
                await deployment.becomes(other, "asleep")
                assert await deployment.state(satellite) == "running"
                lines.append(b"still")
                gate.touch()
    assert lines == [b"up", b"still", b"done"]
    await deployment.becomes(satellite, "asleep")


async def test_an_idle_connection_is_sent_away_when_its_satellite_sleeps(torpor) -> None:
    """On every node: the lease was given up long before, and they hear of it all the same."""
    deployment = await torpor(nodes=2)
    satellite = await deployment.satellite("acme/one", sleep_after=3.0)
    channels = [node.channel() for node in deployment.nodes]
    await asyncio.gather(*(info(each, satellite.metadata, within=LONG) for each in channels))
    await deployment.becomes(satellite, "asleep")
    await until(
        lambda: not any(each.get_state() is grpc.ChannelConnectivity.READY for each in channels)
    )
    for each in channels:
        await each.close()
    assert deployment.wakes(satellite) == 1


async def test_a_worker_that_died_is_started_again_by_the_next_request(torpor) -> None:
    """Nobody has to wait for the reconciler's round: the door has the machine looked at."""
    deployment = await torpor()
    satellite = await deployment.satellite("acme/one")
    before = await used(deployment, satellite)
    await deployment.fetch("update satellites set state_since = now() - interval '1 hour'")
    os.kill(before.pid, signal.SIGKILL)
    after = await used(deployment, satellite)
    assert after.counter == 1
    assert after.cache_entries == before.cache_entries + 1
    events = [row["event"] for row in await deployment.transitions(satellite)]
    assert events[-3:] == ["found_asleep", "wake", "woke"]
