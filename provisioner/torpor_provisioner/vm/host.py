"""What a machine needs of the host that it lives on, and of the others there."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torpor_provisioner.vm.hypervisor import Hypervisor
from torpor_provisioner.vm.image import Image
from torpor_provisioner.vm.record import Phase, Record


class MachineHost(Protocol):
    @property
    def hypervisor(self) -> Hypervisor: ...

    @property
    def folder(self) -> Path: ...

    @property
    def stop_grace(self) -> float: ...

    @property
    def is_open(self) -> bool:
        """Whether its machines' networks have a way out."""
        ...

    def image(self, name: str) -> Image: ...

    def admit(self, ref: str, phase: Phase) -> Record:
        """Have the machine be awake, and write down the phase; raises HostFull if it may not."""
        ...

    def ports(self, record: Record) -> Record:
        """The record with ports that can be had now."""
        ...
