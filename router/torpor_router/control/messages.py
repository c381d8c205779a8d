"""The lifecycle's values as messages of torpor.v1, and the same messages as a client reads them.

Both directions of a message stand side by side: a new field of a satellite is written here once
for the router (`satellite_message`) and once for the command (`SatelliteView`).

Times are in UTC and exact to the microsecond, as in Postgres. A value that a router left out is
None to its client. So is an enum's number without a word here, which a newer peer has sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from torpor_provisioner.contract import Address, Arch, SleepKind
from torpor_router.access.roles import Right
from torpor_router.control.v1 import access_pb2 as access_pb
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.names import written_address
from torpor_statemachine.lifecycle.keeping import Keeper
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind

_Word = TypeVar("_Word", bound=StrEnum)
_Number = TypeVar("_Number", bound=int)


class Words(Generic[_Word, _Number]):
    """A StrEnum, and the enum of the same names in the .proto."""

    def __init__(self, words: type[_Word], value: Callable[[str], _Number], prefix: str) -> None:
        self._numbers = {word: value(f"{prefix}_{word.name}") for word in words}
        self._words: dict[int, _Word] = {int(n): word for word, n in self._numbers.items()}
        self._unspecified = value(f"{prefix}_UNSPECIFIED")

    def number(self, word: _Word | None) -> _Number:
        return self._unspecified if word is None else self._numbers[word]

    def word(self, number: int) -> _Word | None:
        return self._words.get(number)


STATES = Words(State, pb.State.Value, "STATE")
ARCHS = Words(Arch, pb.Arch.Value, "ARCH")
SLEEP_MODES = Words(SleepMode, pb.SleepMode.Value, "SLEEP_MODE")
SLEEP_KINDS = Words(SleepKind, pb.SleepKind.Value, "SLEEP_KIND")
WAKE_KINDS = Words(WakeKind, pb.WakeKind.Value, "WAKE_KIND")


def duration_message(value: timedelta | None) -> Duration | None:
    if value is None:
        return None
    message = Duration()
    message.FromTimedelta(value)
    return message


def time_message(value: datetime | None) -> Timestamp | None:
    if value is None:
        return None
    message = Timestamp()
    message.FromDatetime(value)
    return message


def read_time(message: Timestamp) -> datetime:
    return message.ToDatetime(UTC)


def address_text(address: Address | None) -> str:
    return "" if address is None else written_address(address)


def satellite_message(satellite: Satellite) -> pb.Satellite:
    return pb.Satellite(
        id=str(satellite.id),
        org=satellite.org,
        name=satellite.name,
        provisioner=satellite.provisioner,
        arch=ARCHS.number(satellite.arch),
        size=satellite.size,
        sleep_mode=SLEEP_MODES.number(satellite.sleep_mode),
        sleep_after=duration_message(satellite.sleep_after),
        state=STATES.number(satellite.state),
        state_since=time_message(satellite.state_since),
        created_at=time_message(satellite.created_at),
        generation=satellite.generation,
        sleep_kind=SLEEP_KINDS.number(satellite.sleep_kind),
        idle_since=time_message(satellite.idle_since),
        failure=satellite.failure or "",
        obstacle=satellite.obstacle or "",
        address=address_text(satellite.address),
        ref=satellite.ref or "",
        change_pending=satellite.change_pending,
        keepers=map(_keeper_message, satellite.keepers),
        labels=satellite.labels,
        usual_wake=duration_message(satellite.usual_wake),
        awake_until=time_message(satellite.awake_until),
        wake_kind=WAKE_KINDS.number(satellite.wake_kind),
        schedule=satellite.schedule,
    )


def _keeper_message(keeper: Keeper) -> pb.Keeper:
    return pb.Keeper(
        node_id=str(keeper.node_id),
        streams=keeper.count or 0,
        open=[
            pb.OpenStreams(
                caller=each.caller,
                method=each.method,
                peer=each.peer,
                streams=each.count,
                since=time_message(each.since),
            )
            for each in keeper.streams
        ],
        reported_at=time_message(keeper.reported_at),
        silent_for=duration_message(keeper.silent_for or None),
        until=time_message(keeper.until),
    )


@dataclass(frozen=True, slots=True)
class StreamsView:
    """See `OpenStreams` in the .proto."""

    caller: str
    method: str
    peer: str
    streams: int
    since: datetime

    @classmethod
    def of(cls, message: pb.OpenStreams) -> StreamsView:
        since = read_time(message.since)
        return cls(message.caller, message.method, message.peer, message.streams, since)


@dataclass(frozen=True, slots=True)
class KeeperView:
    """See `Keeper` in the .proto."""

    node_id: str
    streams: int
    open: Sequence[StreamsView]
    silent_for: timedelta | None
    until: datetime

    @classmethod
    def of(cls, message: pb.Keeper) -> KeeperView:
        silent = message.silent_for.ToTimedelta() if message.HasField("silent_for") else None
        return cls(
            message.node_id,
            message.streams,
            tuple(StreamsView.of(each) for each in message.open),
            silent,
            read_time(message.until),
        )


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
    labels: Mapping[str, str] = field(default_factory=dict)
    usual_wake: timedelta | None = None
    wake_kind: WakeKind | None = None
    keepers: Sequence[KeeperView] = ()
    schedule: str = ""
    awake_until: datetime | None = None

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
            labels=dict(message.labels),
            usual_wake=message.usual_wake.ToTimedelta() if message.HasField("usual_wake") else None,
            wake_kind=WAKE_KINDS.word(message.wake_kind),
            keepers=tuple(KeeperView.of(each) for each in message.keepers),
            schedule=message.schedule,
            awake_until=read_time(message.awake_until) if message.HasField("awake_until") else None,
        )


def transition_message(transition: Transition) -> pb.Transition:
    return pb.Transition(
        id=transition.id,
        event=transition.event,
        source=STATES.number(transition.source),
        target=STATES.number(transition.target),
        at=time_message(transition.at),
        node_id=str(transition.node_id or ""),
        actor=transition.actor,
        reason=transition.reason,
        wake_kind=WAKE_KINDS.number(transition.wake_kind),
        took=duration_message(transition.took),
        detail=transition.detail,
        epoch=transition.epoch,
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
    """What the caller's credentials allow. `satellites` is empty where they are for all.

    `domain` is the router's, for host names; empty if it has none or does not say.
    """

    org: str
    caller: str
    rights: list[str]
    satellites: list[str]
    domain: str = ""

    @classmethod
    def of(cls, message: access_pb.WhoAmIReply) -> CallerView:
        return cls(
            message.org,
            message.caller,
            list(message.rights),
            list(message.satellites),
            message.domain,
        )

    def may(self, right: Right) -> bool:
        return right.name.lower() in self.rights
