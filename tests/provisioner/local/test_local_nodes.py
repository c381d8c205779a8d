"""Several nodes with one data folder: a machine outlives them, and each call has one effect."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from localkit.machines import IDLE, becomes, folder_of, observe, pid_of
from waiting import until

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.local import read_calls


async def test_a_machine_outlives_its_provisioner_and_is_found_again(
    local, spec, tmp_path: Path
) -> None:
    first = local(IDLE)
    ref = await first.launch(spec(), "token")
    pid = pid_of(tmp_path, ref)
    await first.aclose()
    second = local(IDLE)
    assert (await observe(second, ref)).state is MachineState.RUNNING
    await second.wake(ref)
    assert pid_of(tmp_path, ref) == pid
    assert len(read_calls(second.folder)) == 1


NODE = """
import asyncio, sys
from pathlib import Path
from torpor_provisioner.errors import NotReady
from torpor_provisioner.contract import SleepKind
from torpor_provisioner.local import LocalProvisioner

async def main(folder, ref):
    provisioner = LocalProvisioner(Path(folder))
    print("ready", flush=True)
    for line in sys.stdin:
        call = line.strip()
        calls = [provisioner.wake(ref) if call == "wake"
                 else provisioner.sleep(ref, SleepKind(call)) for _ in range(5)]
        await asyncio.gather(*calls)
        print("done", flush=True)
    await provisioner.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_calls_of_several_processes_at_once_have_one_effect(
    local, spec, tmp_path: Path
) -> None:
    provisioner = local(IDLE)
    ref = await provisioner.launch(spec(), "token")
    nodes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", NODE, str(provisioner.folder), ref),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    try:
        for node in nodes:
            assert node.stdout is not None
            assert await node.stdout.readline() == b"ready\n"
        for call in (SleepKind.HIBERNATED, "wake", SleepKind.STOPPED, None, "wake"):
            if call is None:
                await becomes(provisioner, ref, MachineState.ASLEEP)
                continue
            for node in nodes:
                assert node.stdin is not None
                node.stdin.write(f"{call}\n".encode())
            for node in nodes:
                assert node.stdout is not None
                assert await node.stdout.readline() == b"done\n"
    finally:
        for node in nodes:
            assert node.stdin is not None
            node.stdin.close()
            await node.wait()
    counted = Counter((call.call, call.how) for call in read_calls(provisioner.folder))
    assert counted == {
        ("launch", ""): 1,
        ("sleep", "hibernated"): 1,
        ("wake", "resumed"): 1,
        ("sleep", "stopped"): 1,
        ("wake", "started"): 1,
    }


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from torpor_provisioner.local import LocalProvisioner, machine

where, folder, ref = sys.argv[1:]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "before the start":
    machine.Worker.launch = die
elif where == "after the start":
    launch = machine.Worker.launch
    machine.Worker.launch = lambda *a, **k: die(launch(*a, **k))
elif where == "while it is started":
    import subprocess
    def run(arguments, *, input, pass_fds, **_):
        started = subprocess.Popen(arguments, stdin=subprocess.PIPE, pass_fds=pass_fds)
        started.stdin.write(input)
        started.stdin.close()
        die()
    subprocess.run = run
asyncio.run(LocalProvisioner(Path(folder)).wake(ref))
"""


@pytest.mark.parametrize("where", ["before the start", "while it is started", "after the start"])
async def test_a_node_killed_in_a_wake_leaves_one_worker(
    local, spec, tmp_path: Path, where: str
) -> None:
    marker = tmp_path / "starts"
    provisioner = local(f"sh -c 'echo $$ >>{marker}; exec sleep 100000'")
    ref = await provisioner.launch(spec(), "token")
    await provisioner.sleep(ref, SleepKind.STOPPED)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    before = marker.read_text()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, where, str(provisioner.folder), ref],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    await provisioner.wake(ref)
    await becomes(provisioner, ref, MachineState.RUNNING)
    pid = pid_of(tmp_path, ref)
    async with asyncio.timeout(60):
        while marker.read_text() == before and where == "before the start":
            await asyncio.sleep(0.01)
        # The process that the killed node had started the worker with may still be ending.
        await until(lambda: living_sessions(folder_of(tmp_path, ref)) == {pid})
    wakes = [call for call in read_calls(provisioner.folder) if call.call == "wake"]
    assert len(wakes) == 1


def living_sessions(machine: Path) -> set[int]:
    """The sessions of workers whose folder is that machine's, seen by where they run."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                here = (folder / "cwd").readlink()
                session = os.getsid(int(folder.name))
            except OSError:  # it has ended meanwhile
                continue
            if here.is_relative_to(machine):
                found.add(session)
    return found
