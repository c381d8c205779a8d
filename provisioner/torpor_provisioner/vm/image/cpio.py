"""Writes what a Linux kernel unpacks at its start: a cpio archive, format newc, gzipped.

Documented in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. It is written
here and not by cpio(1), for device nodes in it then need no root.
"""

from __future__ import annotations

import gzip
import stat
from dataclasses import dataclass, field
from pathlib import Path

_CONSOLE = (5, 1)  # major and minor number of /dev/console


@dataclass(slots=True)
class Archive:
    """Entries in the order in which they are added; what folders they need comes by itself."""

    _written: bytearray = field(default_factory=bytearray)
    _folders: set[str] = field(default_factory=set)
    _count: int = 0

    def file(self, name: str, content: bytes, *, executable: bool = False) -> None:
        self._above(name)
        self._add(name, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def link(self, name: str, target: str) -> None:
        self._above(name)
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, name: str) -> None:
        if name not in self._folders:
            self._folders.add(name)
            self._above(name)
            self._add(name, stat.S_IFDIR | 0o755, b"")

    def console(self) -> None:
        """What the first process writes to, before it has mounted /dev."""
        self._above("dev/console")
        self._add("dev/console", stat.S_IFCHR | 0o600, b"", _CONSOLE)

    def save(self, at: Path) -> None:
        self._add("TRAILER!!!", 0, b"")
        at.write_bytes(gzip.compress(bytes(self._written), compresslevel=6, mtime=0))

    def _above(self, name: str) -> None:
        above, _, _ = name.rpartition("/")
        if above:
            self.folder(above)

    def _add(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._count += 1
        numbers = (self._count, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        self._written += b"070701" + b"".join(b"%08X" % number for number in numbers)
        self._written += name.encode() + b"\0"
        self._pad()
        self._written += content
        self._pad()

    def _pad(self) -> None:
        self._written += bytes(-len(self._written) % 4)
