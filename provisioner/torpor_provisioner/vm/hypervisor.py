"""What is asked of a hypervisor, and nothing more: QEMU is one (see `qemu`), others may come.

A machine lives in a folder: `memory` is its RAM, a sparse file that stays when the hypervisor has
ended; `disk` and `cache` are its disks; `state` is all else, as a save has written it. The memory
and the state belong together: one without the other is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

MEMORY, DISK, CACHE, STATE, SAVING = "memory", "disk", "cache", "state", "state.part"
COMPRESSED, COMPRESSING = "memory.zst", "memory.zst.part"  # see `compressed`


@dataclass(frozen=True, slots=True)
class Traits:
    """What a saved state is bound to. Where one of them differs, it cannot be loaded."""

    version: str  # the hypervisor's
    machine: str  # the machine type, with its version
    cpu: str
    accelerator: str

    def unlike(self, here: Traits) -> str:
        """What differs where a state with these is to be loaded, in words."""
        return "; ".join(
            f"the {each.name} {getattr(self, each.name)!r}, here is {getattr(here, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != getattr(here, each.name)
        )


@dataclass(frozen=True, slots=True)
class Boot:
    """What a machine starts from, and what is its own at each start."""

    kernel: Path
    initrd: Path
    append: str
    memory: int  # MiB
    cpus: int
    worker_port: int  # of the host's loopback address, to the worker's
    identity_port: int
    devices: tuple[str, ...] = ()  # as an earlier start had them; empty: the hypervisor's choice
    account: int | None = None  # user number to run as; None: the router's own
    is_open: bool = False  # its network has a way out


class Guest(Protocol):
    """A machine whose hypervisor runs.

    Each call raises HypervisorFailed when the hypervisor refuses it, or ends.
    """

    async def load(self, state: Path) -> None:
        """Take on the state that was saved; it stands still until `go`.

        Raises:
            StateRefused: the state does not fit.
        """
        ...

    async def go(self) -> None:
        """Let it run; nothing happens if it does."""
        ...

    async def save(self, state: Path) -> None:
        """Make it stand still and write its state, the memory aside.

        Raises:
            DiskFull: there is no room for it. It stands still.
        """
        ...

    async def is_saved(self) -> bool:
        """Whether it stands still because a save was completed."""
        ...

    async def power_button(self) -> None:
        """Ask its system to end."""
        ...

    async def tell(self, line: str, within: float) -> bool:
        """Say a line to the agent inside; whether it answered in time."""
        ...

    async def end(self) -> None:
        """Pull the plug. Returns once the hypervisor is gone."""
        ...

    async def hang_up(self) -> None:
        """Let go of it; it runs on."""
        ...


class Hypervisor(Protocol):
    def traits(self) -> Traits:
        """What a machine that is started now would be bound to.

        Raises:
            NoHypervisor: it is not here.
        """
        ...

    def devices(self, boot: Boot) -> tuple[str, ...]:
        """How it makes the machine up, to be kept for as long as a state of it is."""
        ...

    async def start(self, folder: Path, boot: Boot, *, to_load: bool) -> Guest:
        """Start it in its folder; `to_load`: it waits for a state.

        Raises:
            HypervisorRefused: it ended at once.
            HypervisorFailed: it does not answer.
        """
        ...

    async def attach(self, folder: Path) -> Guest:
        """The machine that runs in that folder."""
        ...

    def is_on(self, folder: Path) -> bool:
        """Whether a machine runs there. Cheap."""
        ...

    async def kill(self, folder: Path) -> None:
        """End what runs there, whatever it does. Nothing happens if nothing does."""
        ...

    def last_words(self, folder: Path) -> str:
        """What the one that ran there has said last."""
        ...
