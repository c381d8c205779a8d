"""Workers that die, are killed or frozen from outside, or whose program goes away."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from localkit.machines import IDLE, becomes, folder_of, observe, pid_of

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import Invalid
from torpor_provisioner.local import read_calls


async def test_a_worker_that_died_is_told_with_its_last_lines(local, spec) -> None:
    provisioner = local("sh -c 'echo all is well; echo out of cheese >&2; exit 3'")
    ref = await provisioner.launch(spec(), "token")
    seen = await becomes(provisioner, ref, MachineState.ASLEEP)
    assert seen.sleep_kind is SleepKind.STOPPED
    assert "died while running" in seen.detail
    assert "all is well | out of cheese" in seen.detail


async def test_a_worker_killed_in_its_sleep_is_started_anew(local, spec, tmp_path: Path) -> None:
    provisioner = local(IDLE)
    ref = await provisioner.launch(spec(), "token")
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    os.kill(pid_of(tmp_path, ref), signal.SIGKILL)
    async with asyncio.timeout(60):
        # a process that is dying is neither frozen nor gone for a moment
        while (seen := await observe(provisioner, ref)).sleep_kind is not SleepKind.STOPPED:
            await asyncio.sleep(0.01)
    assert seen.state is MachineState.ASLEEP
    await provisioner.wake(ref)
    await becomes(provisioner, ref, MachineState.RUNNING)
    assert read_calls(provisioner.folder)[-1].how == "started"


async def test_what_a_dead_worker_left_running_is_ended_before_the_next(
    local, spec, tmp_path: Path
) -> None:
    provisioner = local("sh -c 'sleep 100000 & echo $! >left; exec sleep 100000'")
    ref = await provisioner.launch(spec(), "token")
    left = folder_of(tmp_path, ref) / "data" / "left"
    async with asyncio.timeout(60):
        while not left.exists() or not left.read_text():
            await asyncio.sleep(0.01)
    first = int(left.read_text())
    left.unlink()
    os.kill(pid_of(tmp_path, ref), signal.SIGKILL)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    await provisioner.wake(ref)
    stat = Path(f"/proc/{first}/stat")
    assert not stat.exists() or " Z " in stat.read_text()


async def test_what_was_done_from_outside_is_seen(local, spec, tmp_path: Path) -> None:
    provisioner = local(IDLE)
    ref = await provisioner.launch(spec(), "token")
    os.kill(pid_of(tmp_path, ref), signal.SIGSTOP)
    seen = await becomes(provisioner, ref, MachineState.ASLEEP)
    assert (seen.sleep_kind, seen.detail) == (SleepKind.HIBERNATED, "frozen from outside")
    os.kill(pid_of(tmp_path, ref), signal.SIGCONT)
    await becomes(provisioner, ref, MachineState.RUNNING)


async def test_a_program_that_went_away_is_told_at_the_wake(local, spec, tmp_path: Path) -> None:
    program = tmp_path / "worker"
    program.write_text("#!/bin/sh\nexec sleep 100000\n")
    program.chmod(0o700)
    provisioner = local(str(program))
    ref = await provisioner.launch(spec(), "token")
    await provisioner.sleep(ref, SleepKind.STOPPED)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    program.rename(tmp_path / "elsewhere")
    with pytest.raises(Invalid, match="No such file"):
        await provisioner.wake(ref)
    seen = await observe(provisioner, ref)
    assert (seen.state, seen.sleep_kind) == (MachineState.ASLEEP, SleepKind.STOPPED)
    assert "No such file" in seen.detail
    (tmp_path / "elsewhere").rename(program)
    await provisioner.wake(ref)
    assert (await becomes(provisioner, ref, MachineState.RUNNING)).detail == ""
