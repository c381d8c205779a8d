"""What the two kinds of sleep keep, and transitions that take a while."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from localkit.machines import IDLE, becomes, folder_of, observe
from waiting import until

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import NotReady
from torpor_provisioner.local import LocalProvisioner, read_calls
from torpor_provisioner.local.phases import Timing
from torpor_provisioner.sample.client import build, info
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_router.names import written_address


async def asked(provisioner: LocalProvisioner, ref: str) -> pb.InfoReply:
    address = (await observe(provisioner, ref)).address
    assert address is not None
    async with grpc.aio.insecure_channel(written_address(address)) as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        async for _ in build(channel, None, ["sh", "-c", 'mktemp "$TORPOR_CACHE/XXXXXX"']):
            pass
        return await info(channel)


async def test_freezing_keeps_memory_and_stopping_keeps_the_disk(local, spec) -> None:
    provisioner = local()
    ref = await provisioner.launch(spec(), "token")
    first = await asked(provisioner, ref)
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    await provisioner.wake(ref)
    resumed = await asked(provisioner, ref)
    assert (resumed.counter, resumed.cache_entries) == (2, 2)
    assert (resumed.booted_at, resumed.pid) == (first.booted_at, first.pid)
    await provisioner.sleep(ref, SleepKind.STOPPED)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    await provisioner.wake(ref)
    started = await asked(provisioner, ref)
    assert (started.counter, started.builds_done, started.cache_entries) == (1, 3, 3)
    assert started.booted_at != first.booted_at
    assert [(call.call, call.how) for call in read_calls(provisioner.folder)] == [
        ("launch", ""),
        ("sleep", "hibernated"),
        ("wake", "resumed"),
        ("sleep", "stopped"),
        ("wake", "started"),
    ]


async def test_a_frozen_worker_takes_no_cpu_and_its_builds_are_frozen_too(
    local, spec, tmp_path: Path
) -> None:
    busy = "bash -c 'set -m; (while :; do :; done) & echo $! >busy; wait'"
    provisioner = local(busy)
    ref = await provisioner.launch(spec(), "token")
    pid_file = folder_of(tmp_path, ref) / "data" / "busy"
    async with asyncio.timeout(60):
        while not pid_file.exists() or not pid_file.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    stat = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    if stat.parent.parent.joinpath("self").exists():
        assert stat.read_text().rpartition(")")[2].split()[0] == "T"
    await provisioner.terminate(ref)
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


async def test_slow_transitions_are_seen_and_need_nobody_in_between(local, spec) -> None:
    slow = local(IDLE, timing=Timing(start_delay=0.3, resume_delay=0.3, freeze_delay=1.0))
    ref = await slow.launch(spec(), "token")
    assert (await observe(slow, ref)).state is MachineState.PENDING
    with pytest.raises(NotReady):
        await slow.sleep(ref, SleepKind.HIBERNATED)
    await becomes(slow, ref, MachineState.RUNNING)
    await slow.sleep(ref, SleepKind.HIBERNATED)
    assert (await observe(slow, ref)).state is MachineState.STOPPING
    with pytest.raises(NotReady):
        await slow.wake(ref)
    await becomes(slow, ref, MachineState.ASLEEP)
    await slow.wake(ref)
    assert (await observe(slow, ref)).state is MachineState.PENDING
    await slow.aclose()  # the one that began it is gone
    other = local(IDLE, timing=Timing(start_delay=0.3, resume_delay=0.3, freeze_delay=1.0))
    await becomes(other, ref, MachineState.RUNNING)


async def test_its_own_process_carries_a_slow_wake_out_unobserved(
    local, spec, tmp_path: Path
) -> None:
    provisioner = local(IDLE, timing=Timing(start_delay=0.05))
    ref = await provisioner.launch(spec(), "token")
    await until((folder_of(tmp_path, ref) / "process.json").exists)
