"""The lifecycle's words as messages of torpor.v1, and back.

Times are in UTC and exact to the microsecond, as in Postgres. An enum's number that has no word
here (it comes from a newer peer) becomes None, as 0 does; what that means is the reader's say.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from torpor_provisioner.contract import Address, Arch, SleepKind
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.names import written_address
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
