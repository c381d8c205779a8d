"""What a hypervisor refuses, and what a host does, each told by its code; no machine is started."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, cast

import pytest

from torpor_provisioner.vm.errors import (
    HypervisorFailed,
    HypervisorRefused,
    StateRefused,
    TooManyMachines,
)
from torpor_provisioner.vm.hypervisor import Boot, Hypervisor
from torpor_provisioner.vm.machines import Machines
from torpor_provisioner.vm.qemu import Qemu, _Guest
from torpor_provisioner.vm.qmp import Monitor
from torpor_provisioner.vm.record import Wanted
from torpor_provisioner.vm.settings import VmSettings


async def test_a_monitor_that_hangs_up_before_it_greets() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.setblocking(False)
    with pytest.raises(HypervisorFailed, match="does not greet"):
        await Monitor.greeted(ours)


async def test_a_hypervisor_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho 'no such accelerator' >&2\nexit 1\n")
    program.chmod(0o755)
    nothing = tmp_path / "nothing"
    boot = Boot(
        nothing, nothing, "", 16, 1, worker_port=1, identity_port=2, devices=("-nodefaults",)
    )
    folder = tmp_path / "machine"
    folder.mkdir()
    with pytest.raises(HypervisorRefused, match="no such accelerator"):
        await Qemu("tcg", str(program)).start(folder, boot, to_load=False)


class _Refusing:
    """A monitor that takes everything but a state."""

    async def give(self, name: str, file: int) -> None:
        pass

    async def ask(self, command: str, **_: Any) -> Any:
        if command == "migrate-incoming":
            raise HypervisorFailed("it does not fit")


async def test_a_state_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"of another version")
    with pytest.raises(StateRefused, match="TPR-2223"):
        await _Guest(tmp_path, cast("Monitor", _Refusing())).load(tmp_path / "state")


def test_an_org_has_as_many_as_it_may(
    tmp_path: Path, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = VmSettings(images=tmp_path, max_satellites=1)
    machines = Machines(tmp_path, settings, cast("Hypervisor", None))
    wanted = spec()
    monkeypatch.setattr(machines, "check", lambda each: Wanted(each, "tiny", 256, 1))
    monkeypatch.setattr(machines, "records", lambda: [("vm-1", wanted)])
    with pytest.raises(TooManyMachines, match="1 of its 1"):
        machines.launch(wanted, "a/1")
