"""The words of the lifecycle, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from torpor_provisioner.contract import Address, Arch, SleepKind


class State(StrEnum):
    LAUNCHING = "launching"
    RUNNING = "running"
    SLEEPING = "sleeping"  # on its way to sleep
    ASLEEP = "asleep"
    WAKING = "waking"
    UPDATING = "updating"  # from asleep only
    FAILED = "failed"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class WakeKind(StrEnum):
    """What a held request waited for."""

    HOT = "hot"  # it was running
    RESUMED = "resumed"  # from hibernation
    STARTED = "started"  # from a stop
    LAUNCHED = "launched"  # new


class SleepMode(StrEnum):
    AUTO = "auto"  # hibernates x86_64, stops arm64
    HIBERNATE = "hibernate"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Satellite:
    """One row of `satellites`, with its org's name. Times are the database's."""

    id: UUID
    org_id: UUID
    org: str
    name: str
    provisioner: str
    arch: Arch
    size: str
    sleep_mode: SleepMode
    sleep_after: timedelta
    state: State
    state_since: datetime
    created_at: datetime
    generation: int
    epoch: int
    claimed_by: UUID | None = None
    claim_deadline: datetime | None = None
    ref: str | None = None
    address: Address | None = None
    sleep_kind: SleepKind | None = None  # set while asleep
    idle_since: datetime | None = None  # None while a lease is live
    failure: str | None = None  # "TPR-2205 ..." while failed, and after a failed wake

    @property
    def full_name(self) -> str:
        return f"{self.org}/{self.name}"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the `transitions` log: why it is awake, why it slept."""

    id: int
    satellite_id: UUID
    epoch: int
    event: str
    source: State
    target: State
    at: datetime
    node_id: UUID | None
    actor: str  # who: a caller's name, "reaper", "reconciler"
    reason: str  # why: "request", "idle 30m", "asked", ...
    wake_kind: WakeKind | None = None
    took: timedelta | None = None  # from claim to completion
    detail: str = ""
