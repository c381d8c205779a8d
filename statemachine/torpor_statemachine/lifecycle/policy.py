"""What to do, decided from what was read: pure functions, without a clock, a socket or a lock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from torpor_provisioner.contract import Arch, MachineState, Observed, SleepKind, Spec
from torpor_provisioner.errors import TorporError
from torpor_statemachine.errors import (
    BackingOff,
    SatelliteEnding,
    SatelliteFailed,
    in_short,
    recall,
)
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite, Wanted
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind


def sleep_kind(satellite: Satellite) -> SleepKind:
    """How it is to sleep."""
    return _sleep_kind(satellite.sleep_mode, satellite.arch)


def _sleep_kind(mode: SleepMode, arch: Arch) -> SleepKind:
    match mode:
        case SleepMode.HIBERNATE:
            return SleepKind.HIBERNATED
        case SleepMode.STOP:
            return SleepKind.STOPPED
        case SleepMode.AUTO:
            hibernates = arch is Arch.X86_64
            return SleepKind.HIBERNATED if hibernates else SleepKind.STOPPED


def at_launch(new: NewSatellite, *, hibernate_arm64: bool) -> NewSatellite:
    """With the operator's default for arm64, which `auto` stops otherwise."""
    if hibernate_arm64 and new.arch is Arch.ARM64 and new.sleep_mode is SleepMode.AUTO:
        return replace(new, sleep_mode=SleepMode.HIBERNATE)
    return new


def wake_kind(satellite: Satellite, boot_id: str | None) -> WakeKind:
    """What its wake has been; `boot_id` is what the machine says now. It knows better than the
    cloud whether the memory was kept."""
    kept = memory_kept(satellite, boot_id)
    if kept is None:
        kept = satellite.sleep_kind is SleepKind.HIBERNATED
    return WakeKind.RESUMED if kept else WakeKind.STARTED


def memory_lost(satellite: Satellite, kind: WakeKind) -> bool:
    """Whether its memory was to be kept, as the cloud told it, and is not there."""
    return satellite.sleep_kind is SleepKind.HIBERNATED and kind is WakeKind.STARTED


def memory_kept(satellite: Satellite, boot_id: str | None) -> bool | None:
    """Whether the machine has run on since it last woke; None: it did not say."""
    if satellite.boot_id is None or boot_id is None:
        return None
    return satellite.boot_id == boot_id


def spec(satellite: Satellite) -> Spec:
    """What its machine is, or is to become."""
    wanted = satellite.wanted
    return Spec(
        satellite_id=satellite.id,
        generation=satellite.generation,
        org=satellite.org,
        name=satellite.name,
        arch=satellite.arch,
        size=wanted.size if wanted else satellite.size,
        hibernate=sleep_kind(satellite) is SleepKind.HIBERNATED,
        settings=wanted.settings if wanted else satellite.settings,
    )


def spec_of_new(new: NewSatellite, satellite_id: UUID, org: str) -> Spec:
    """What its first machine is to be."""
    return Spec(
        satellite_id=satellite_id,
        generation=1,
        org=org,
        name=new.name,
        arch=new.arch,
        size=new.size,
        hibernate=_sleep_kind(new.sleep_mode, new.arch) is SleepKind.HIBERNATED,
        settings=new.settings,
    )


def changed(satellite: Satellite, changes: Changes, by: str) -> Wanted:
    """What it is to become, on top of what was asked for before and not made yet. An empty value
    removes a setting."""
    size, settings = satellite.size, satellite.settings
    if satellite.wanted is not None:
        size, settings = satellite.wanted.size, satellite.wanted.settings
    merged = {key: value for key, value in {**settings, **changes.settings}.items() if value}
    return Wanted(size if changes.size is None else changes.size, merged, by)


# --- What a request that waits does next


@dataclass(frozen=True, slots=True)
class ClaimWake:
    """Try to be the one that wakes it."""


@dataclass(frozen=True, slots=True)
class RequestWake:
    """It falls asleep: leave word."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody is at it, or it is not time yet. `longest` in seconds; None: as long as ever."""

    why: str
    longest: float | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Every request that waits has this answer."""

    error: TorporError


Step = ClaimWake | RequestWake | Wait | Fail
Mark = tuple[int, str | None]


def mark(satellite: Satellite) -> Mark:
    """What tells a failure that was already there from one that came while waiting."""
    return satellite.epoch, satellite.failure


def next_step(satellite: Satellite, began: Mark, patience: float) -> Step:
    """For requests that began to wait at `began` and have `patience` seconds left at most.

    A failed wake fails them once, with its cause; those that come later try again.
    """
    failed_since = satellite.failure is not None and mark(satellite) != began
    match satellite.state:
        case State.FAILED:
            cause = f"{satellite.full_name}: {recall(satellite.failure or '')}"
            return Fail(SatelliteFailed(cause))
        case State.TERMINATING | State.TERMINATED:
            return Fail(SatelliteEnding(satellite.full_name))
        case State.ASLEEP | State.SLEEPING if failed_since:
            return Fail(recall(satellite.failure or ""))
        case State.ASLEEP:
            return _claim_when_due(satellite, patience)
        case State.SLEEPING if not satellite.wake_requested:
            return RequestWake()
        case _:
            because = f" ({in_short(satellite.obstacle)})" if satellite.obstacle else ""
            return Wait(f"it is {satellite.state}{because}")


def _claim_when_due(satellite: Satellite, patience: float) -> Step:
    if satellite.retry_in > patience:
        return Fail(BackingOff(f"in {satellite.retry_in:.0f} s; {satellite.failure}"))
    if satellite.retry_in > 0:
        return Wait("its last wake failed; the next try is due soon", satellite.retry_in)
    return ClaimWake()


# --- What a machine seen differs in from the satellite believed


@dataclass(frozen=True, slots=True)
class Drift:
    """The event that makes the row true again."""

    event: Event
    seen: Observed


def drift(satellite: Satellite, seen: Observed) -> Drift | None:
    """For a satellite at rest, and its machine as the cloud shows it now."""
    match satellite.state, seen.state:
        case ((State.RUNNING | State.ASLEEP), MachineState.GONE):
            return Drift(Event.LOST, seen)
        case State.RUNNING, MachineState.ASLEEP:
            return Drift(Event.FOUND_ASLEEP, seen)
        case State.ASLEEP, MachineState.RUNNING if seen.address is not None:
            return Drift(Event.FOUND_RUNNING, seen)
        case State.RUNNING, MachineState.RUNNING if seen.address not in (None, satellite.address):
            return Drift(Event.MOVED, seen)
        case _:
            return None


def idle_reason(sleep_after: timedelta) -> str:
    """Why the reaper put it to sleep, for the log."""
    return f"idle {short(sleep_after)}"


def short(span: timedelta) -> str:
    """A duration for people: 90s, 30m, 2h."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
