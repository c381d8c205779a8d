"""What callers ask for, read into the lifecycle's words.

What a satellite may be is the lifecycle's say (`torpor_statemachine.lifecycle.specs`); here
stands what only a message can get wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from torpor_provisioner.contract import Arch
from torpor_provisioner.errors import TorporError
from torpor_router.control.errors import (
    BadLimit,
    BadMask,
    BadName,
    BadPage,
    NothingToChange,
    UnknownChoice,
)
from torpor_router.control.messages import ARCHS, SLEEP_MODES, STATES
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.names import is_name
from torpor_statemachine.errors import BadSatellite
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import DEFAULT_SLEEP_AFTER, Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State

DEFAULT_TRANSITIONS = 50
_FIELDS = {"size", "sleep_mode", "sleep_after", "settings", "labels", "schedule"}
DEFAULT_ACTS = 100
MOST_LINES = 1_000  # of a log, in one reply
SETTINGS_OCTETS = 32 * 1024  # all of a satellite's together

_SECONDS = 4_000 * 86_400  # more than any duration that means something here


def name(text: str) -> str:
    """A satellite's name, as it was given.

    Raises:
        BadName: no satellite can be called that.
    """
    if not is_name(text):
        raise BadName(repr(text[:60]))
    return text


def new_satellite(
    request: pb.LaunchRequest, org_id: UUID, *, default_provisioner: str
) -> NewSatellite:
    """
    Raises:
        BadName, UnknownChoice, BadSatellite: what is wrong with the request.
    """
    if "--" in name(request.name):
        # NAME--ORG.DOMAIN could not be told apart (see `naming.from_host`)
        raise BadName(f"{request.name!r} has two hyphens in a row")
    sleep_after = _sleep_after(request)
    return NewSatellite(
        org_id=org_id,
        name=request.name,
        provisioner=request.provisioner or default_provisioner,
        arch=arch(request.arch) or Arch.X86_64,
        size=request.size,
        sleep_mode=_sleep_mode(request.sleep_mode) or SleepMode.AUTO,
        sleep_after=DEFAULT_SLEEP_AFTER if sleep_after is None else sleep_after,
        settings=_settings(request.settings),
        labels=dict(request.labels),
        request_id=request.request_id,
    )


def masked(request: pb.UpdateRequest, now: Satellite) -> pb.UpdateRequest:
    """The same change of a satellite that is as `now`, said without a mask.

    Raises:
        BadMask: it names something else.
    """
    if not request.HasField("update_mask"):
        return request
    paths = set(request.update_mask.paths)
    if not paths <= _FIELDS:
        raise BadMask(", ".join(sorted(paths - _FIELDS))[:200])
    plain = pb.UpdateRequest(name=request.name)
    if "size" in paths:
        plain.size = request.size
    if "sleep_mode" in paths:
        plain.sleep_mode = request.sleep_mode or pb.SLEEP_MODE_AUTO
    if "sleep_after" in paths:
        plain.sleep_after.FromTimedelta(DEFAULT_SLEEP_AFTER)
        if request.HasField("sleep_after"):
            plain.sleep_after.CopyFrom(request.sleep_after)
    if "settings" in paths:
        wanted = now.wanted.settings if now.wanted is not None else now.settings
        plain.settings.update({**dict.fromkeys(wanted, ""), **request.settings})
    if "schedule" in paths:
        plain.schedule = request.schedule
    if "labels" in paths:
        plain.labels.update({**dict.fromkeys(now.labels, ""), **request.labels})
    return plain


def page(request: pb.ListRequest) -> tuple[int, str]:
    """How many satellites to list, and behind which name.

    Raises:
        BadPage: nobody was given that token, or it is too many.
    """
    if not 0 <= request.page_size <= MOST_LINES:
        raise BadPage(f"a page_size of {request.page_size}")
    if request.page_token and not is_name(request.page_token):
        raise BadPage(f"the page_token {request.page_token[:60]!r}")
    return request.page_size, request.page_token


def chosen(request: pb.ListRequest, satellite: Satellite) -> bool:
    """Whether the request asks for a satellite like this."""
    if request.states and STATES.number(satellite.state) not in request.states:
        return False
    return all(satellite.labels.get(key) == value for key, value in request.labels.items())


def changes(request: pb.UpdateRequest) -> Changes:
    """
    Raises:
        UnknownChoice, BadSatellite, NothingToChange: what is wrong with the request.
    """
    wanted = Changes(
        size=request.size if request.HasField("size") else None,
        sleep_mode=_sleep_mode(request.sleep_mode),
        sleep_after=_sleep_after(request),
        settings=_settings(request.settings),
        labels=dict(request.labels),
        schedule=request.schedule if request.HasField("schedule") else None,
    )
    if wanted == Changes():
        raise NothingToChange
    return wanted


def limit(requested: int, *, default: int = DEFAULT_TRANSITIONS) -> int:
    """How many lines of a log to send; 0 asks for the default.

    Raises:
        BadLimit: fewer than none, or too many.
    """
    if not 0 <= requested <= MOST_LINES:
        raise BadLimit(str(requested))
    return requested or default


def duration(message: Duration, bad: type[TorporError]) -> timedelta:
    """
    Raises:
        TorporError: a `bad` one: it says more than a timedelta can, or contradicts itself.
    """
    if abs(message.seconds) > _SECONDS or not 0 <= message.nanos < 1_000_000_000:
        raise bad(f"{message.seconds} s and {message.nanos} ns")
    return message.ToTimedelta()


def state(number: int) -> State | None:
    """
    Raises:
        UnknownChoice: there is no such state.
    """
    if (word := STATES.word(number)) is None and number:
        raise UnknownChoice(f"state number {number}")
    return word


def arch(number: int) -> Arch | None:
    """
    Raises:
        UnknownChoice: there is no such architecture.
    """
    if (word := ARCHS.word(number)) is None and number:
        raise UnknownChoice(f"architecture number {number}")
    return word


def _sleep_mode(number: int) -> SleepMode | None:
    if (word := SLEEP_MODES.word(number)) is None and number:
        raise UnknownChoice(f"sleep mode number {number}")
    return word


def _sleep_after(request: pb.LaunchRequest | pb.UpdateRequest) -> timedelta | None:
    if not request.HasField("sleep_after"):
        return None
    return duration(request.sleep_after, BadSatellite)


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    octets = sum(len(key.encode()) + len(value.encode()) for key, value in given.items())
    if octets > SETTINGS_OCTETS:
        raise BadSatellite(f"settings of {octets} octets: {SETTINGS_OCTETS} at most")
    return dict(given)
