"""What is written down of one machine. Whether it is so, the kernel tells (see `power`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from torpor_provisioner.contract import Arch, Spec, launch_token
from torpor_provisioner.vm.hypervisor import Traits


class Phase(StrEnum):
    """What the machine was last asked to be."""

    MADE = "made"  # and not yet started
    BOOTING = "booting"  # from its disk
    WAKING = "waking"  # with its memory
    RUNNING = "running"
    SAVING = "saving"
    HIBERNATED = "hibernated"
    STOPPING = "stopping"
    STOPPED = "stopped"


AWAKE = frozenset({Phase.BOOTING, Phase.WAKING, Phase.RUNNING, Phase.SAVING, Phase.STOPPING})


@dataclass(frozen=True, slots=True)
class Record:
    """`since` is when the phase began, in seconds of the wall clock: it must outlive a reboot.

    `devices` and `traits` are those of the last start: a state that is saved is bound to them.
    `greeted`: it has been told who it is, which the copy of a golden snapshot does not know.
    """

    satellite_id: UUID
    generation: int
    org: str
    name: str
    arch: Arch
    hibernate: bool
    image: str
    memory: int  # MiB
    cpus: int
    worker_port: int
    identity_port: int
    phase: Phase
    since: float
    calls: int  # that had an effect; numbers the lines of the call log
    greeted: bool = True
    devices: tuple[str, ...] = ()
    traits: Traits | None = None
    account: int | None = None
    detail: str = ""  # why it sleeps less well than it was asked to, or not at all

    @property
    def full_name(self) -> str:
        return f"{self.org}/{self.name}"

    @property
    def token(self) -> str:
        return launch_token(self.satellite_id, self.generation)

    def becomes(self, phase: Phase, now: float, **changed: Any) -> Self:
        return replace(self, phase=phase, since=now, **changed)

    def to_json(self) -> str:
        stored = {f.name: getattr(self, f.name) for f in fields(self)}
        stored["traits"] = asdict(self.traits) if self.traits is not None else None
        return json.dumps(stored, default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        stored: dict[str, Any] = json.loads(text)
        if "told" in stored:  # the key's name before it was `detail`
            stored["detail"] = stored.pop("told")
        traits = stored.pop("traits")
        return cls(
            satellite_id=UUID(stored.pop("satellite_id")),
            arch=Arch(stored.pop("arch")),
            phase=Phase(stored.pop("phase")),
            devices=tuple(stored.pop("devices")),
            traits=Traits(**traits) if traits is not None else None,
            **stored,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a spec means on this host."""

    spec: Spec
    image: str
    memory: int
    cpus: int
