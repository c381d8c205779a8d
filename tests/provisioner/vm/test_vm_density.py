"""Twenty satellites where four may be awake; and what a wake costs beside QEMU's own.

Slow: `make machine` runs them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import time
from pathlib import Path

import pytest
from vmkit.machines import ACCELERATOR, WITHIN, becomes, folder_of, image, info, needs_qemu, observe

from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind
from torpor_provisioner.vm import golden, sparse
from torpor_provisioner.vm.errors import HostFull
from torpor_provisioner.vm.hypervisor import MEMORY, STATE
from torpor_provisioner.vm.network import free_ports, network
from torpor_provisioner.vm.qemu import Qemu

pytestmark = [needs_qemu, pytest.mark.slow, pytest.mark.timeout(900)]
MEMORY_MIB = 256
SIZE = f"1x{MEMORY_MIB}M"
WAKES = 7
AT_MOST = 1.5  # times what a bare script takes


async def ready() -> golden.Golden:
    return await golden.make(image(), MEMORY_MIB, 1, Qemu(ACCELERATOR))


async def test_twenty_satellites_share_room_for_four(vm, spec, tmp_path):
    await ready()
    one = vm(size=SIZE, memory=4 * MEMORY_MIB)
    refs = []
    for number in range(20):
        refs.append(await one.launch(spec(), f"token-{number}"))
        await becomes(one, refs[-1], MachineState.RUNNING)
        await one.sleep(refs[-1], SleepKind.HIBERNATED)
        await becomes(one, refs[-1], MachineState.ASLEEP)
    most = 0

    async def builds(ref: str) -> None:
        nonlocal most
        async with asyncio.timeout(WITHIN * 4):
            while True:
                try:
                    await one.wake(ref)
                    break
                except HostFull:
                    await asyncio.sleep(0.5)
        await info(await becomes(one, ref, MachineState.RUNNING))
        seen = [(await observe(one, each)).state for each in refs]
        most = max(most, sum(state is not MachineState.ASLEEP for state in seen))
        await one.sleep(ref, SleepKind.HIBERNATED)
        await becomes(one, ref, MachineState.ASLEEP)

    await asyncio.gather(*map(builds, refs))
    assert 1 < most <= 4
    taken = [sparse.blocks(folder_of(tmp_path, ref) / MEMORY) for ref in refs]
    assert max(taken) < MEMORY_MIB << 20, "asleep, each costs what it has touched"
    await asyncio.gather(*map(one.terminate, refs))
    assert not list((tmp_path / "vm/machines").iterdir())
    assert not list((tmp_path / "vm/terminated").iterdir())


async def test_a_wake_takes_little_more_than_qemus_own(vm, spec, tmp_path):
    snapshot = await ready()
    one = vm(size=SIZE)
    ref = await one.launch(spec(), "token")
    await info(await becomes(one, ref, MachineState.RUNNING))
    ours, bare = [], []
    for number in range(WAKES):
        await one.sleep(ref, SleepKind.HIBERNATED)
        await becomes(one, ref, MachineState.ASLEEP)
        began = time.perf_counter()
        await one.wake(ref)
        await info(await observe(one, ref))
        ours.append(time.perf_counter() - began)
        bare.append(await _bare(snapshot, tmp_path / f"bare-{number}"))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"wake p50 {statistics.median(ours):.2f} s, bare {statistics.median(bare):.2f} s")
    assert ratio <= AT_MOST


async def _bare(snapshot: golden.Golden, folder: Path) -> float:
    """Seconds from the start of QEMU to the first answer: start, load, continue, and no more."""
    folder.mkdir()
    snapshot.copy(folder)
    subprocess.run(["mkfifo", folder / "agent.in", folder / "agent.out"], check=True)
    worker, identity = free_ports(2, ())
    made = image()
    backing = f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={MEMORY},share=on"
    words = ["qemu-system-x86_64", *snapshot.devices, "-nodefaults", "-no-user-config"]
    words += ["-display", "none", "-object", backing, "-netdev", network(worker, identity)]
    words += ["-kernel", str(made.kernel), "-initrd", str(made.initrd), "-append", made.append]
    words += ["-chardev", "pipe,id=agent,path=agent", "-incoming", "defer"]
    words += ["-chardev", "ringbuf,id=console,size=64K", "-serial", "chardev:console"]
    words += ["-qmp", "unix:monitor,server=on,wait=off"]
    began = time.perf_counter()
    qemu = subprocess.Popen(words, cwd=folder)
    try:
        await asyncio.to_thread(_resume, folder)
        address = Address("127.0.0.1", worker)
        await info(Observed(MachineState.RUNNING, address))
        return time.perf_counter() - began
    finally:
        qemu.kill()
        qemu.wait()


def _resume(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        while line.connect_ex(str(folder / "monitor")) != 0:
            time.sleep(0.005)
        heard = line.makefile("rw")
        heard.readline()

        def ask(command: str, **arguments: object) -> dict[str, object]:
            heard.write(json.dumps({"execute": command, "arguments": arguments}))
            heard.flush()
            while "return" not in (told := json.loads(heard.readline())):
                assert "error" not in told, told
            return dict(told["return"])

        ask("qmp_capabilities")
        shared = [{"capability": "x-ignore-shared", "state": True}]
        ask("migrate-set-capabilities", capabilities=shared)
        ask("migrate-incoming", uri=f"exec:cat {STATE}")
        while ask("query-migrate").get("status") != "completed":
            time.sleep(0.005)
        ask("cont")
