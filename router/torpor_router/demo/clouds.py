"""Where the demo's satellites live, and how many wakes were really asked for there.

Wakes are counted in the cloud's own log, not in Torpor's.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torpor_provisioner.accounts import is_root
from torpor_provisioner.errors import NotInstalled
from torpor_provisioner.local import LocalProvisioner, LocalSettings, read_calls
from torpor_provisioner.local.errors import NoAccount
from torpor_provisioner.local.settings import PREFIX, ROUTERS_OWN
from torpor_provisioner.vm import VmProvisioner, VmSettings, golden
from torpor_provisioner.vm.image import make_small
from torpor_provisioner.vm.qemu import Qemu
from torpor_provisioner.vm.settings import PREFIX as VM_PREFIX
from torpor_provisioner.vm.settings import size as vm_size

BUILDGRID = Path(".tools/buildgrid/bin/bgd")  # where `make tools` puts it
CACHE = "cache"  # the worker that is a Bazel remote cache
_ACCOUNTS = f"{PREFIX}ACCOUNTS"
_RESUMES = 2.0  # seconds
_VM_SIZE = "1x256M"
_SPEED = 10.0  # how much faster than AWS's the faithful EC2's time passes


class Cloud(Protocol):
    name: str
    environ: Mapping[str, str]  # for the routers
    has_cache: bool  # whether it can run the worker CACHE
    pace: str  # how long its machines take, and why
    warning: str  # of who else on this machine can do what, or empty

    def wakes(self) -> int:
        """Start calls that had an effect, so far."""
        ...


class _Local:
    name = "local"

    def __init__(self, data: Path) -> None:
        self._folder = data / "local"
        self.has_cache = BUILDGRID.exists()
        # As slow as a small cloud, so that there is something to see
        self.pace = f"machines take {_RESUMES:g} s to wake here, on purpose: they could in 10 ms"
        self.environ = {
            "TORPOR_LOCAL_START_DELAY": "1",
            "TORPOR_LOCAL_RESUME_DELAY": f"{_RESUMES:g}",
            "TORPOR_LOCAL_STOP_GRACE": "2",
        }
        if self.has_cache:
            words = (sys.executable, "-m", "torpor_provisioner.local.buildgrid")
            command = shlex.join([*words, str(BUILDGRID.absolute())])
            self.environ["TORPOR_LOCAL_WORKER_CACHE"] = command + " {socket} {data}"
        self.warning = self._choose_accounts(data)

    def _choose_accounts(self, data: Path) -> str:
        """Root's workers get accounts of their own where that can be; the demo asks nothing."""
        if _ACCOUNTS in os.environ:
            return ""
        try:
            LocalSettings.from_environment(self.environ).check_accounts(data)
        except NoAccount as error:
            self.environ[_ACCOUNTS] = ROUTERS_OWN
            return f"builds run as root here: {error.detail}"
        return ""

    def wakes(self) -> int:
        return sum(call.call == "wake" for call in read_calls(self._folder))

    async def clear(self) -> None:
        """End what is left of an earlier demo, or of this one."""
        provisioner = LocalProvisioner(self._folder, LocalSettings.from_environment(self.environ))
        try:
            for ref in await provisioner.owned():
                await provisioner.terminate(ref)
        finally:
            await provisioner.aclose()


class _Vm:
    name = "vm"
    has_cache = False
    warning = (
        "the machines listen on loopback ports: every account of this machine reaches their"
        " workers past the door"
    )

    def __init__(self, data: Path) -> None:
        """Makes what machines boot from, where it is not there yet.

        Raises:
            NotInstalled: with what this machine lacks.
        """
        self._folder = data / "vm"
        self.environ = {"TORPOR_VM_SIZE": _VM_SIZE, "TORPOR_VM_STOP_GRACE": "2"}
        if is_root():  # accounts of their own could not enter every place where this may lie
            self.environ[f"{VM_PREFIX}ACCOUNTS"] = ROUTERS_OWN
        self._settings = VmSettings.from_environment(self.environ, self._folder)
        hypervisor = Qemu()
        hypervisor.traits()  # before minutes are spent on an image
        cpus, memory = vm_size(_VM_SIZE)
        asyncio.run(golden.make(make_small(self._settings.images), memory, cpus, hypervisor))
        emulated = hypervisor.traits().accelerator == "tcg"
        self.pace = "machines are real" + (", and emulated: there is no KVM here" * emulated)

    def wakes(self) -> int:
        return sum(call.call == "wake" for call in read_calls(self._folder))

    async def clear(self) -> None:
        """End what is left of an earlier demo, or of this one; images stay."""
        provisioner = VmProvisioner(self._folder, self._settings)
        try:
            for ref in await provisioner.owned():
                await provisioner.terminate(ref)
        finally:
            await provisioner.aclose()


class _Ec2:
    name = "ec2"
    has_cache = False
    pace = f"EC2 is played {_SPEED:g} times as fast as AWS's"
    warning = (
        "the machines it plays listen on loopback ports: every account of this machine can have"
        " them run what it likes as you"
    )

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self._log = environ["TORPOR_EC2_ENDPOINT"].rstrip("/") + "/faithful/calls"

    def wakes(self) -> int:
        with urllib.request.urlopen(self._log, timeout=10) as answer:  # noqa: S310 - our own
            calls = json.load(answer)
        return sum(len(call["effective"]) for call in calls if call["action"] == "StartInstances")

    async def clear(self) -> None:
        """Its machines end with it."""


AnyCloud = _Local | _Vm | _Ec2


@contextmanager
def cloud(name: str, data: Path) -> Iterator[AnyCloud]:
    """The cloud of that name.

    Raises:
        TorporError: it cannot be had here.
    """
    if name == _Local.name:
        yield _Local(data)
        return
    if name == _Vm.name:
        try:
            machines: AnyCloud = _Vm(data)
        except NotInstalled as error:
            machines = _Local(data)
            machines.warning = f"no virtual machines here, but processes: {error.message}"
        yield machines
        return
    from torpor_provisioner.faithful_ec2.playing import played

    # A machine may hibernate two minutes after its launch; nobody wants to watch that long
    with played(data / "ec2", speed=_SPEED, timing={"young": 20.0}) as environ:
        yield _Ec2(environ)
