"""`torpor image`: what the virtual machines of this host boot from."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from torpor_router.cli.failures import Commands
from torpor_router.cli.output import Output, with_output

if TYPE_CHECKING:
    from torpor_provisioner.vm import VmSettings

_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".torpor"),
    show_default=True,
    help="The router's --data folder; TORPOR_VM_IMAGES names another place for images.",
)


@click.group(cls=Commands)
def image() -> None:
    """Make and list images for the provisioner 'vm'."""


@image.command()
@_DATA
@click.option("--size", default="", metavar="CPUSxMEMORY", help="Of the golden snapshot.")
@click.option("--no-golden", is_flag=True, help="Make the image only; launches boot then.")
@click.option(
    "--buildkit",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="The image 'buildkit', with the buildkitd, buildctl and runc of this folder.",
)
@with_output
def build(output: Output, *, data: Path, size: str, no_golden: bool, buildkit: Path | None) -> None:
    """Make the tiny image, and a golden snapshot for quick launches.

    It takes packages from Debian's mirrors, and about a minute; what is there already is kept.
    """
    from torpor_provisioner.vm import golden
    from torpor_provisioner.vm import settings as vm_settings
    from torpor_provisioner.vm.image import BuildKit, make_small
    from torpor_provisioner.vm.qemu import Qemu

    settings = _settings(data)
    cpus, memory = vm_settings.size(size or settings.size)
    made = make_small(settings.images, BuildKit(buildkit) if buildkit else None)
    output.remark(f"image {made.name} in {settings.images}")
    if not no_golden:
        hypervisor = Qemu(settings.accelerator, settings.qemu)
        found = asyncio.run(golden.make(made, memory, cpus, hypervisor))
        output.remark(f"golden snapshot of {cpus}x{memory}M in {found.folder}")
    output.answer({"name": made.name, "folder": str(made.folder)}, made.name)


@image.command("ls")
@_DATA
@with_output
def list_images(output: Output, *, data: Path) -> None:
    """List the images of this host."""
    from torpor_provisioner.vm.image import find, names

    images = _settings(data).images
    found = [find(images, name) for name in names(images)]
    if output.as_json:
        output.json([{"name": each.name, "folder": str(each.folder)} for each in found])
        return
    rows = [(each.name, len(list(each.folder.glob("golden/*/golden.json")))) for each in found]
    output.table(
        ["image", "golden snapshots"], rows, empty="There are none; see torpor image build."
    )


def _settings(data: Path) -> VmSettings:
    from torpor_provisioner.vm import VmSettings

    return VmSettings.from_environment(os.environ, data / "vm")
