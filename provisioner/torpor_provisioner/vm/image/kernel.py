"""Debian's kernel for virtual machines, and those of its modules that a satellite needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

META = "linux-image-cloud-amd64"  # the package that depends on the newest
# A machine on q35 with virtio devices; ext4 is built in.
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel's package, unpacked."""

    root: Path

    @property
    def image(self) -> Path:
        [found] = (self.root / "boot").glob("vmlinuz-*")
        return found

    def modules(self, *names: str) -> list[Path]:
        """The files of these modules and of what they depend on, in the order to load them."""
        there = {_name(path): path for path in (self.root / "lib/modules").rglob("*.ko")}
        ordered: dict[str, Path] = {}

        def add(name: str) -> None:
            if name not in ordered and name in there:  # what is not there is built in
                for needed in _needed(there[name]):
                    add(needed)
                ordered[name] = there[name]

        for name in names:
            add(name)
        return list(ordered.values())


def _name(path: Path) -> str:
    return path.stem.replace("-", "_")


def _needed(module: Path) -> list[str]:
    """From its section .modinfo, which holds NAME=VALUE, each ended by a zero octet."""
    found = re.search(rb"\0depends=([\w,-]*)\0", module.read_bytes())
    return [] if not found else [n.replace("-", "_") for n in found[1].decode().split(",") if n]
