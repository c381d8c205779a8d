"""A machine's disks: layers of its own over the image's, which is only read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from torpor_provisioner.vm.errors import DiskFull, HypervisorFailed, NoHypervisor
from torpor_provisioner.vm.hypervisor import CACHE, DISK
from torpor_provisioner.vm.image import Image

PROGRAM = "qemu-img"


def make(image: Image, folder: Path) -> None:
    """Both, as they are at first.

    Raises:
        NoHypervisor: qemu-img is not here.
        DiskFull: there is no room.
    """
    if shutil.which(PROGRAM) is None:
        raise NoHypervisor(f"{PROGRAM} is not installed")
    for base, name in ((image.disk, DISK), (image.cache, CACHE)):
        words = [PROGRAM, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), name]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            full = "No space" in done.stderr
            raise (DiskFull if full else HypervisorFailed)(done.stderr.strip()[-300:])
