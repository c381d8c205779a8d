"""A host whose QEMU, machine type, processor or accelerator is another than when a machine slept.

Its memory fits no more: it boots from its disk, keeps what was written there, and says why.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vmkit.machines import becomes, folder_of, info, needs_qemu, prints

from torpor_provisioner.calls import read_calls
from torpor_provisioner.contract import MachineState, Observed, SleepKind
from torpor_provisioner.vm import VmProvisioner
from torpor_provisioner.vm.hypervisor import MEMORY, STATE

pytestmark = [needs_qemu, pytest.mark.timeout(600)]


async def hibernated(provisioner: VmProvisioner, spec) -> tuple[str, Observed]:
    ref = await provisioner.launch(spec(), "token")
    ran = await becomes(provisioner, ref, MachineState.RUNNING)
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    slept = await becomes(provisioner, ref, MachineState.ASLEEP)
    assert slept.sleep_kind is SleepKind.HIBERNATED
    return ref, ran


def saved_by(folder: Path, **other: str) -> None:
    """As if its memory had been saved on a host that differs so."""
    record = json.loads((folder / "machine.json").read_text())
    assert record["traits"].keys() >= other.keys()
    record["traits"] |= other
    (folder / "machine.json").write_text(json.dumps(record))


async def booted(
    provisioner: VmProvisioner, ref: str, folder: Path, why: str, how: str = "started"
) -> None:
    """It runs, though not with its memory; and can be saved and woken with memory from then on."""
    seen = await becomes(provisioner, ref, MachineState.RUNNING)
    assert why in seen.detail
    assert not (folder / STATE).exists(), "an old memory must never be found"
    calls = read_calls(provisioner.folder)
    assert [call.call for call in calls] == ["launch", "sleep", "wake"]
    assert calls[-1].how == how
    record = json.loads((folder / "machine.json").read_text())
    assert record["traits"]["version"] != "0.1"
    assert record["devices"]
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    assert (folder / STATE).exists()


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ({"version": "0.1"}, "its memory was saved with the version '0.1', here is"),
        pytest.param(
            {"machine": "pc-q35-2.4"},
            "its memory was saved with the machine 'pc-q35-2.4', here is",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"cpu": "host 0123456789abcdef", "accelerator": "kvm"},
            "with the cpu 'host 0123456789abcdef', here is 'max'; the accelerator 'kvm', here is",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["version", "machine", "host"],
)
async def test_a_memory_of_another_hypervisor_is_not_loaded(vm, spec, tmp_path, differs, why):
    one = vm()
    ref, _ = await hibernated(one, spec)
    folder = folder_of(tmp_path, ref)
    saved_by(folder, **differs)
    await one.wake(ref)
    await booted(one, ref, folder, why)


async def test_a_state_that_qemu_refuses_is_a_boot(vm, spec, tmp_path):
    """It fits by its name, and QEMU finds that it does not: so with another kernel's KVM."""
    one = vm()
    ref, _ = await hibernated(one, spec)
    folder = folder_of(tmp_path, ref)
    state = (folder / STATE).read_bytes()
    (folder / STATE).write_bytes(state[: len(state) // 2])
    await one.wake(ref)
    await booted(one, ref, folder, "does not fit the hypervisor any more", how="resumed")


@pytest.mark.slow  # it boots twice
async def test_what_was_written_to_the_disk_is_there_after_the_boot(vm, spec, tmp_path):
    one = vm()
    ref, ran = await hibernated(one, spec)
    await one.wake(ref)
    await prints(ran, "sh", "-c", "echo kept >/var/lib/torpor/written; sync")
    await one.sleep(ref, SleepKind.HIBERNATED)
    await becomes(one, ref, MachineState.ASLEEP)
    folder = folder_of(tmp_path, ref)
    saved_by(folder, version="0.1")
    assert (folder / MEMORY).exists()
    await one.wake(ref)
    seen = await becomes(one, ref, MachineState.RUNNING)
    assert await prints(seen, "cat", "/var/lib/torpor/written") == ["kept"]
    before = (await info(seen)).booted_at
    await one.sleep(ref, SleepKind.HIBERNATED)
    await becomes(one, ref, MachineState.ASLEEP)
    await one.wake(ref)
    woken = await becomes(one, ref, MachineState.RUNNING)
    assert woken.detail == ""
    assert (await info(woken)).booted_at == before, "with its memory, from then on"
