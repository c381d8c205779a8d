"""What a client of torpor.v1 gets to see, in the lifecycle's words.

A value that the router left out, or that is newer than this client, is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from torpor_provisioner.contract import Arch, SleepKind
from torpor_router.control.convert import (
    ARCHS,
    SLEEP_KINDS,
    SLEEP_MODES,
    STATES,
    WAKE_KINDS,
    read_time,
)
from torpor_router.control.v1 import access_pb2 as access_pb
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind


@dataclass(frozen=True, slots=True)
class SatelliteView:
    """See the message of the same name in the .proto for what each field says."""

    id: str
    org: str
    name: str
    state: State | None
    state_since: datetime
    sleep_kind: SleepKind | None
    idle_since: datetime | None
    failure: str | None
    obstacle: str | None
    arch: Arch | None
    size: str
    sleep_mode: SleepMode | None
    sleep_after: timedelta
    provisioner: str
    ref: str | None
    address: str | None
    generation: int
    created_at: datetime
    change_pending: bool = False

    @classmethod
    def of(cls, message: pb.Satellite) -> SatelliteView:
        return cls(
            id=message.id,
            org=message.org,
            name=message.name,
            state=STATES.word(message.state),
            state_since=read_time(message.state_since),
            sleep_kind=SLEEP_KINDS.word(message.sleep_kind),
            idle_since=read_time(message.idle_since) if message.HasField("idle_since") else None,
            failure=message.failure or None,
            obstacle=message.obstacle or None,
            arch=ARCHS.word(message.arch),
            size=message.size,
            sleep_mode=SLEEP_MODES.word(message.sleep_mode),
            sleep_after=message.sleep_after.ToTimedelta(),
            provisioner=message.provisioner,
            ref=message.ref or None,
            address=message.address or None,
            generation=message.generation,
            created_at=read_time(message.created_at),
            change_pending=message.change_pending,
        )


@dataclass(frozen=True, slots=True)
class TransitionView:
    """One step of a satellite: who did it, why, and how long it took."""

    id: int
    at: datetime
    event: str
    source: State | None
    target: State | None
    actor: str
    reason: str
    wake_kind: WakeKind | None
    took: timedelta | None
    detail: str
    node_id: str | None
    epoch: int

    @classmethod
    def of(cls, message: pb.Transition) -> TransitionView:
        return cls(
            id=message.id,
            at=read_time(message.at),
            event=message.event,
            source=STATES.word(message.source),
            target=STATES.word(message.target),
            actor=message.actor,
            reason=message.reason,
            wake_kind=WAKE_KINDS.word(message.wake_kind),
            took=message.took.ToTimedelta() if message.HasField("took") else None,
            detail=message.detail,
            node_id=message.node_id or None,
            epoch=message.epoch,
        )


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far a call is that takes its time. `waiting_for` is empty when there is no wait."""

    satellite: SatelliteView
    elapsed: timedelta
    waiting_for: str

    @classmethod
    def of(cls, message: pb.Progress) -> ProgressView:
        return cls(
            SatelliteView.of(message.satellite),
            message.elapsed.ToTimedelta(),
            message.waiting_for,
        )


@dataclass(frozen=True, slots=True)
class CallerView:
    """What the caller's credentials allow. `satellites` is empty where they are for all."""

    org: str
    caller: str
    rights: list[str]
    satellites: list[str]

    @classmethod
    def of(cls, message: access_pb.WhoAmIReply) -> CallerView:
        return cls(message.org, message.caller, list(message.rights), list(message.satellites))
