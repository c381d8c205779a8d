"""A cgroup of a test's own, on either version of cgroups."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
UNIFIED = (ROOT / "cgroup.controllers").exists()


class Cgroup:
    """One cgroup: a folder of the unified hierarchy, or one for each controller of the old kind."""

    def __init__(self, name: str) -> None:
        controllers = (".",) if UNIFIED else ("cpu", "cpuacct", "memory")
        self.folders = {c: ROOT / c / name for c in controllers}
        self._name = name
        self._children: list[Cgroup] = []
        for folder in self.folders.values():
            folder.mkdir(exist_ok=True)

    def _folder(self, controller: str) -> Path:
        return self.folders["." if UNIFIED else controller]

    def child(self, name: str) -> Cgroup:
        if UNIFIED:
            (self._folder("") / "cgroup.subtree_control").write_text("+cpu +memory")
        self._children.append(Cgroup(f"{self._name}/{name}"))
        return self._children[-1]

    def inside(self, *command: object) -> list[str]:
        """The command line that runs a command in here."""
        files = " ".join(str(folder / "cgroup.procs") for folder in self.folders.values())
        enter = f'for file in {files}; do echo $$ >"$file" || exit 125; done; exec "$@"'
        return ["/bin/sh", "-c", enter, "sh", *map(str, command)]

    def limit_cpu(self, percent: int) -> None:
        """CPUQuota=, as systemd writes it: hundredths of one core, by periods of 100 ms."""
        if UNIFIED:
            (self._folder("cpu") / "cpu.max").write_text(f"{percent * 1000} 100000")
        else:
            (self._folder("cpu") / "cpu.cfs_period_us").write_text("100000")
            (self._folder("cpu") / "cpu.cfs_quota_us").write_text(str(percent * 1000))

    def limit_memory(self, size: int) -> None:
        """MemoryMax= with MemorySwapMax=0."""
        names = (
            ("memory.max", "memory.swap.max")
            if UNIFIED
            else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        )
        for name, value in zip(names, (size, 0 if UNIFIED else size), strict=True):
            (self._folder("memory") / name).write_text(str(value))

    @property
    def cpu_seconds(self) -> float:
        if UNIFIED:
            return self._cpu_stat("usage_usec") / 1e6
        return int((self._folder("cpuacct") / "cpuacct.usage").read_text()) / 1e9

    @property
    def throttled(self) -> int:
        return self._cpu_stat("nr_throttled")

    def _cpu_stat(self, name: str) -> int:
        words = (self._folder("cpu") / "cpu.stat").read_text().split()
        return int(words[words.index(name) + 1])

    def end(self) -> None:
        """Kill what is inside and remove it."""
        for child in self._children:
            child.end()
        for folder in self.folders.values():
            deadline = time.monotonic() + 30
            while folder.exists():
                for pid in (folder / "cgroup.procs").read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)


@contextmanager
def cgroup() -> Iterator[Cgroup]:
    made = Cgroup(f"torpor-test-{secrets.token_hex(4)}")
    try:
        yield made
    finally:
        made.end()


def writable() -> bool:
    """Whether this process may make cgroups with the controllers that are needed."""
    wanted = [ROOT] if UNIFIED else [ROOT / "cpu", ROOT / "cpuacct", ROOT / "memory"]
    return os.geteuid() == 0 and all(f.is_dir() and os.access(f, os.W_OK) for f in wanted)
