"""What a router has left on its machine is found and ended without one."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from localkit.machines import IDLE, becomes, observe, pid_of

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.local import processes, read_calls

DOCS = Path(__file__).parents[3] / "docs" / "local.md"


async def command(data: Path, *options: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torpor_provisioner.local", str(data), *options),
        stdout=PIPE,
        stderr=PIPE,
    )
    told, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
    return told.decode().splitlines()


async def test_running_and_frozen_ones_are_listed_and_stopped(local, spec, tmp_path: Path) -> None:
    provisioner = local(IDLE)
    refs = [await provisioner.launch(spec(name=name), name) for name in ("one", "two", "three")]
    await provisioner.sleep(refs[1], SleepKind.HIBERNATED)
    await provisioner.sleep(refs[2], SleepKind.STOPPED)
    await becomes(provisioner, refs[2], MachineState.ASLEEP)
    assert await command(tmp_path) == [
        f"acme/one  {refs[0]}  running",
        f"acme/three  {refs[2]}  asleep stopped",
        f"acme/two  {refs[1]}  asleep hibernated",
    ]
    pids = [pid_of(tmp_path, ref) for ref in refs]
    calls = len(read_calls(provisioner.folder))
    stopped = await command(tmp_path, "--stop")
    assert [line.split("  ")[2] for line in stopped] == ["asleep stopped"] * 3
    for pid in pids:
        process = processes._read(pid)
        assert process is None or not process.alive
    assert len(read_calls(provisioner.folder)) == calls + 2, "one was stopped before"
    await provisioner.wake(refs[1])
    await becomes(provisioner, refs[1], MachineState.RUNNING)
    assert (await observe(provisioner, refs[0])).detail == ""


async def test_where_nothing_was_left_nothing_is_said_or_made(tmp_path: Path) -> None:
    assert await command(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_page_names_the_command() -> None:
    written = re.findall(r"python -m torpor_provisioner\.local (.+)", DOCS.read_text())
    assert written == [".torpor", ".torpor --stop"]
