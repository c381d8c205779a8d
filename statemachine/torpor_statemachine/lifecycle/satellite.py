"""A satellite and its log, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from torpor_provisioner.contract import Address, Arch, SleepKind
from torpor_statemachine.lifecycle.keeping import Keeper
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an update makes of a satellite's machine, as soon as that is stopped. `by` asked."""

    size: str
    settings: Mapping[str, str]
    by: str = ""


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
    state_age: float = 0.0  # seconds in this state, when the row was read
    settings: Mapping[str, str] = field(default_factory=dict)
    wanted: Wanted | None = None  # a change that is asked for and not yet made
    claimed_by: UUID | None = None
    claim_left: float = 0.0  # seconds until the claim's deadline, when the row was read
    ref: str | None = None
    address: Address | None = None
    sleep_kind: SleepKind | None = None  # set while asleep
    sleep_called: bool = False  # while sleeping: it can no longer be abandoned
    wake_requested: bool = False  # while sleeping
    wake_kind: WakeKind | None = None  # of the last wake
    usual_wake: timedelta | None = None  # the slowest of its recent wakes, forgotten by tenths
    boot_id: str | None = None  # of its machine, where that says so: another one after each boot
    stops_next: bool = False  # its memory was kept for as long as its cloud keeps it
    memory_expired: bool = False  # that is why it was stopped, and it sleeps since
    idle_since: datetime | None = None  # None while a lease is live
    failure: str | None = None  # "TPR-2205 ...", see `errors.recall`
    obstacle: str | None = None  # of the same form: what is in the way of the claim's work just now
    retry_in: float = 0.0  # seconds until a wake is tried again, when the row was read
    labels: Mapping[str, str] = field(default_factory=dict)
    schedule: str = ""  # see `lifecycle.schedule`
    awake_until: datetime | None = None  # kept awake until then by its schedule; it may be past
    keepers: tuple[Keeper, ...] = ()  # what keeps it awake, where that was asked for

    @property
    def full_name(self) -> str:
        return f"{self.org}/{self.name}"

    @property
    def change_pending(self) -> bool:
        return self.wanted is not None

    def __repr__(self) -> str:
        claimed = f", claimed by {self.claimed_by}" if self.claimed_by else ""
        return f"<Satellite {self.full_name} {self.state}, epoch {self.epoch}{claimed}>"


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
