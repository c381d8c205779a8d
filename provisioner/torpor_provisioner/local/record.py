"""What is written down of one machine."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import Arch, Spec


class Phase(StrEnum):
    """What the machine was last asked to be; whether it is so, its processes tell."""

    STARTING = "starting"
    RUNNING = "running"
    RESUMING = "resuming"
    FREEZING = "freezing"
    FROZEN = "frozen"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Record:
    """`since` is when the phase began, in seconds of the wall clock: it must outlive a reboot."""

    satellite_id: UUID
    generation: int
    org: str
    name: str
    arch: Arch
    hibernate: bool
    settings: dict[str, str]
    port: int
    phase: Phase
    since: float
    calls: int  # that had an effect; numbers the lines of the call log
    failure: str = ""  # why the last start did not come about

    @classmethod
    def of(cls, spec: Spec, port: int, now: float) -> Record:
        return cls(
            satellite_id=spec.satellite_id,
            generation=spec.generation,
            org=spec.org,
            name=spec.name,
            arch=spec.arch,
            hibernate=spec.hibernate,
            settings=dict(spec.settings),
            port=port,
            phase=Phase.STARTING,
            since=now,
            calls=1,
        )

    @property
    def full_name(self) -> str:
        return f"{self.org}/{self.name}"

    def to_json(self) -> str:
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)}, default=str)

    @classmethod
    def from_json(cls, text: str) -> Record:
        stored: dict[str, Any] = json.loads(text)
        stored["satellite_id"] = UUID(stored["satellite_id"])
        stored["arch"] = Arch(stored["arch"])
        stored["phase"] = Phase(stored["phase"])
        return cls(**stored)
