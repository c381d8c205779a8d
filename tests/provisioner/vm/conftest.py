"""Machines of one's own, ended after each test whatever became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from vmkit.machines import image, settings

from torpor_provisioner.vm import VmProvisioner, power

MakeVm = Callable[..., VmProvisioner]


@pytest.fixture(scope="session")
def vm_image() -> object:
    return image()


@pytest.fixture
async def vm(tmp_path: Path, vm_image: object) -> AsyncIterator[MakeVm]:
    """Makes provisioners, each as a node would have it, all of one data folder."""
    made: list[VmProvisioner] = []

    def make(**given: object) -> VmProvisioner:
        hypervisor = given.pop("hypervisor", None)
        made.append(VmProvisioner(tmp_path / "vm", settings(**given), hypervisor))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        await each.aclose()
    for folder in tmp_path.glob("vm/*/*"):
        if folder.is_dir():
            await power.kill(folder)
