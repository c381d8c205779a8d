"""Whatever builds do with their processes, they are frozen, resumed and ended with the worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from localkit.machines import becomes, folder_of, observe, pid_of
from waiting import until

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import NotReady
from torpor_provisioner.local import LocalProvisioner, cgroup, processes
from torpor_provisioner.local.errors import WorkerDied

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_CHILD_SUBREAPER")

# Leaves behind a process of a session, a group and an environment of its own, whose parents are
# gone: what a container's first process looks like once its runtime has ended.
DETACHED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        code = "import os; open(\\"loose\\", \\"w\\").write(str(os.getpid()) + \\"\\\\n\\")"
        os.execve(sys.executable, ["python", "-I", "-S", "-c", code + "\\nwhile True: pass"], {})
    os._exit(0)
os.wait()
time.sleep(100000)
"""


# And before it leaves, it kills the keeper; then nothing is left to find it by but its cgroup.
ESCAPING = DETACHED.replace("time\n", "time\nkeeper = os.getppid()\n", 1).replace(
    "os.wait()\n", "os.wait()\nos.kill(keeper, 9)\n"
)


@pytest.fixture
def worker(tmp_path: Path) -> str:
    program = tmp_path / "worker.py"
    program.write_text(DETACHED)
    return f"{sys.executable} {program}"


async def loose(tmp_path: Path, ref: str) -> int:
    """The process that left."""
    file = folder_of(tmp_path, ref) / "data" / "loose"
    async with asyncio.timeout(60):
        while not file.exists() or not file.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
    return int(file.read_text())


def state(pid: int) -> str:
    process = processes._read(pid)
    return "gone" if process is None or not process.alive else process.state


def keeper_of(tmp_path: Path, ref: str) -> int:
    return int(json.loads((folder_of(tmp_path, ref) / "keeper.json").read_text())["pid"])


async def until_gone(pid: int) -> None:
    await until(lambda: state(pid) == "gone")


@LINUX
async def test_what_leaves_the_session_and_its_parents_sleeps_with_the_worker(
    local, spec, tmp_path: Path, worker: str
) -> None:
    provisioner: LocalProvisioner = local(worker)
    ref = await provisioner.launch(spec(), "token")
    pid = await loose(tmp_path, ref)
    assert os.getsid(pid) not in (pid_of(tmp_path, ref), pid)
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    assert state(pid) == "T"
    await provisioner.wake(ref)
    assert state(pid) == "R"
    await provisioner.terminate(ref)
    assert state(pid) == "gone"


@LINUX
async def test_a_loose_process_ends_when_the_worker_stops(
    local, spec, tmp_path: Path, worker: str
) -> None:
    provisioner: LocalProvisioner = local(worker)
    ref = await provisioner.launch(spec(), "token")
    pid = await loose(tmp_path, ref)
    await provisioner.sleep(ref, SleepKind.STOPPED)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    await until_gone(pid)


@LINUX
async def test_a_loose_process_ends_when_the_worker_is_killed_unobserved(
    local, spec, tmp_path: Path, worker: str
) -> None:
    provisioner: LocalProvisioner = local(worker)
    ref = await provisioner.launch(spec(), "token")
    pid = await loose(tmp_path, ref)
    keeper = keeper_of(tmp_path, ref)
    os.kill(pid_of(tmp_path, ref), signal.SIGKILL)
    await until_gone(pid)
    await until_gone(keeper)


@LINUX
async def test_a_keeper_that_is_killed_leaves_worker_and_builds_known(
    local, spec, tmp_path: Path
) -> None:
    provisioner: LocalProvisioner = local("sh -c 'setsid sleep 100000 & echo $! >loose; wait'")
    ref = await provisioner.launch(spec(), "token")
    pid = await loose(tmp_path, ref)
    os.kill(keeper_of(tmp_path, ref), signal.SIGKILL)
    assert (await observe(provisioner, ref)).state is MachineState.RUNNING
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    assert state(pid) == "T"
    os.kill(pid_of(tmp_path, ref), signal.SIGKILL)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    await provisioner.terminate(ref)
    assert state(pid) == "gone", "found by the mark in its environment"


@LINUX
@pytest.mark.skipif(not cgroup.can_be_made(), reason="no cgroup can be made here")
async def test_what_kills_the_keeper_and_leaves_is_held_by_its_cgroup(
    local, spec, tmp_path: Path
) -> None:
    program = tmp_path / "escaping.py"
    program.write_text(ESCAPING)
    provisioner: LocalProvisioner = local(f"{sys.executable} {program}")
    ref = await provisioner.launch(spec(), "token")
    pid = await loose(tmp_path, ref)
    await until_gone(keeper_of(tmp_path, ref))
    own = Path((folder_of(tmp_path, ref) / "cgroup").read_text())
    assert cgroup.members(own) == {pid, pid_of(tmp_path, ref)}
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    assert state(pid) == "T"
    await provisioner.wake(ref)
    assert state(pid) == "R"
    await provisioner.terminate(ref)
    assert state(pid) == "gone"
    assert not own.exists()


@LINUX
async def test_without_a_cgroup_what_belongs_to_a_worker_is_found_by_descent(
    local, spec, tmp_path: Path, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "can_be_made", lambda: False)
    provisioner: LocalProvisioner = local(worker)
    ref = await provisioner.launch(spec(), "token")
    pid = await loose(tmp_path, ref)
    assert not (folder_of(tmp_path, ref) / "cgroup").exists()
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    assert state(pid) == "T"
    await provisioner.terminate(ref)
    assert state(pid) == "gone"


@LINUX
async def test_builds_that_fork_all_the_time_are_frozen_as_a_whole(
    local, spec, tmp_path: Path
) -> None:
    fork = 'while :; do setsid sh -c "(sleep 0.01 &)"; done'
    provisioner: LocalProvisioner = local(f"sh -c '({fork}) & ({fork}) & exec sleep 100000'")
    ref = await provisioner.launch(spec(), "token")
    await asyncio.sleep(0.1)  # into the thick of it
    for _ in range(3):
        await provisioner.sleep(ref, SleepKind.HIBERNATED)
        before = ticks(keeper_of(tmp_path, ref))
        await asyncio.sleep(0.1)
        assert ticks(keeper_of(tmp_path, ref)) == before
        await provisioner.wake(ref)


def ticks(keeper: int) -> dict[int, int]:
    """The CPU time of each living descendant, in clock ticks (proc_pid_stat(5))."""
    table = {each.identity.pid: each for each in processes.table() if each.alive}
    found = {}
    for pid in table:
        above = pid
        while above in table and above != keeper:
            above = table[above].parent
        if above == keeper != pid:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = int(fields[11]) + int(fields[12])
    return found


@LINUX
async def test_an_asker_that_is_killed_keeps_nobody_waiting(local, spec, tmp_path: Path) -> None:
    """Neither the keeper nor the worker holds the lock or the asker's pipes."""
    provisioner: LocalProvisioner = local("sleep 100000")
    ref = await provisioner.launch(spec(), "token")
    for pid in (keeper_of(tmp_path, ref), pid_of(tmp_path, ref)):
        held = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
        assert not [name for name in held if name.startswith("pipe:") or name.endswith("/lock")]
    left = subprocess.run(["flock", "-n", folder_of(tmp_path, ref) / "lock", "true"], check=False)
    assert left.returncode == 0


async def test_a_worker_that_cannot_run_is_told_at_the_next_call(local, spec) -> None:
    provisioner: LocalProvisioner = local("sh -c 'echo no disk left >&2; exit 3'")
    ref = await provisioner.launch(spec(), "token")
    seen = await becomes(provisioner, ref, MachineState.ASLEEP)
    assert "no disk left" in seen.detail
    with pytest.raises(
        WorkerDied, match=r"exit code 3 after 0\.\d s; its last lines: no disk left"
    ):
        await provisioner.wake(ref)
    assert "no disk left" in (await observe(provisioner, ref)).detail
    await provisioner.wake(ref)  # told once: who mended it meanwhile need not wait
    await becomes(provisioner, ref, MachineState.ASLEEP)
    with pytest.raises(WorkerDied):
        await provisioner.wake(ref)


async def test_a_worker_that_was_killed_early_is_started_again(local, spec, tmp_path: Path) -> None:
    provisioner: LocalProvisioner = local("sleep 100000")
    ref = await provisioner.launch(spec(), "token")
    for number in (signal.SIGKILL, signal.SIGTERM):
        os.kill(pid_of(tmp_path, ref), number)
        await becomes(provisioner, ref, MachineState.ASLEEP)
        await provisioner.wake(ref)
        await becomes(provisioner, ref, MachineState.RUNNING)


async def test_what_a_dead_worker_said_is_told_without_control_characters(local, spec) -> None:
    provisioner: LocalProvisioner = local(r"printf '\033[2Jgone \000 \007bad'")
    ref = await provisioner.launch(spec(), "token")
    seen = await becomes(provisioner, ref, MachineState.ASLEEP)
    assert "[2Jgone" in seen.detail
    assert seen.detail.isprintable()


async def test_a_process_that_does_not_die_is_waited_for(
    local, spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    provisioner: LocalProvisioner = local("sleep 100000")
    ref = await provisioner.launch(spec(), "token")
    with monkeypatch.context() as patched:
        patched.setattr("torpor_provisioner.local.worker.KILL_PATIENCE", 0.05)
        patched.setattr(os, "killpg", lambda *_: None)  # as in a disk wait
        with pytest.raises(NotReady, match="does not end"):
            await provisioner.terminate(ref)
    await provisioner.terminate(ref)
