"""What to do next with a machine: decided from what it was asked to be and what is seen of it.

Nothing here touches a process or a file. Delays are not slept through: a step that is not due
yet stays as it is, and a later look takes it. So a machine half way through a slow wake
needs no process of ours to stay alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import NotReady
from torpor_provisioner.local.record import Phase


class Seen(Enum):
    """The worker's own process."""

    RUNNING = auto()
    FROZEN = auto()
    DEAD = auto()


class Action(Enum):
    START = auto()
    RESUME = auto()
    FREEZE = auto()
    END = auto()  # ask it to end
    KILL = auto()  # whatever is left of it


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. The delays make this machine as slow as a cloud, to see what waiting looks like."""

    start_delay: float = 0.0
    resume_delay: float = 0.0
    freeze_delay: float = 0.0
    stop_grace: float = 10.0  # from SIGTERM to SIGKILL

    def of(self, phase: Phase) -> float:
        """How long a passing phase may last before its step is due."""
        return {
            Phase.STARTING: self.start_delay,
            Phase.RESUMING: self.resume_delay,
            Phase.FREEZING: self.freeze_delay,
            Phase.STOPPING: self.stop_grace,
        }.get(phase, 0.0)


@dataclass(frozen=True, slots=True)
class Step:
    """Do `action`, then write down `phase`."""

    phase: Phase
    action: Action | None = None


AT_ONCE: Mapping[tuple[Phase, Seen], Step] = {
    # the node that started it was killed before it could write so
    (Phase.STARTING, Seen.RUNNING): Step(Phase.RUNNING),
    (Phase.STARTING, Seen.FROZEN): Step(Phase.RUNNING),
    (Phase.RESUMING, Seen.RUNNING): Step(Phase.RUNNING),
    (Phase.FREEZING, Seen.RUNNING): Step(Phase.FREEZING, Action.FREEZE),
    (Phase.STOPPING, Seen.DEAD): Step(Phase.STOPPED, Action.KILL),
}

WHEN_DUE: Mapping[tuple[Phase, Seen], Step] = {
    (Phase.STARTING, Seen.DEAD): Step(Phase.RUNNING, Action.START),
    (Phase.RESUMING, Seen.FROZEN): Step(Phase.RUNNING, Action.RESUME),
    (Phase.FREEZING, Seen.FROZEN): Step(Phase.FROZEN),
    (Phase.STOPPING, Seen.RUNNING): Step(Phase.STOPPED, Action.KILL),
    (Phase.STOPPING, Seen.FROZEN): Step(Phase.STOPPED, Action.KILL),
}


def next_step(phase: Phase, seen: Seen, *, due: bool) -> Step | None:
    """The step that is outstanding, if any."""
    return AT_ONCE.get((phase, seen)) or (WHEN_DUE.get((phase, seen)) if due else None)


def to_wake(phase: Phase, seen: Seen) -> Step | None:
    """What a wake begins; None when it runs, or is on its way.

    Raises:
        NotReady: it is still falling asleep.
    """
    if seen is Seen.DEAD:
        return None if phase is Phase.STARTING else Step(Phase.STARTING)
    if phase in {Phase.FREEZING, Phase.STOPPING}:
        raise NotReady(f"the machine is {phase}")
    if seen is Seen.FROZEN and phase is not Phase.RESUMING:
        return Step(Phase.RESUMING)
    return None


def to_sleep(phase: Phase, seen: Seen, how: SleepKind) -> Step | None:
    """What a sleep begins; None when it sleeps, or is on its way.

    Raises:
        NotReady: it is still being started or resumed.
    """
    if phase is Phase.STARTING or (phase is Phase.RESUMING and seen is Seen.FROZEN):
        raise NotReady(f"the machine is {phase}")
    if seen is not Seen.RUNNING or phase in {Phase.FREEZING, Phase.STOPPING}:
        return None
    if how is SleepKind.HIBERNATED:
        return Step(Phase.FREEZING, Action.FREEZE)
    return Step(Phase.STOPPING, Action.END)


class Description(NamedTuple):
    """In the contract's words: the state, how it sleeps, and what is odd about it."""

    state: MachineState
    kind: SleepKind | None = None
    odd: str = ""


DESCRIPTIONS: Mapping[tuple[Phase, Seen], Description] = {
    (Phase.STARTING, Seen.DEAD): Description(MachineState.PENDING),
    (Phase.RESUMING, Seen.FROZEN): Description(MachineState.PENDING),
    (Phase.FREEZING, Seen.RUNNING): Description(MachineState.STOPPING),
    (Phase.FREEZING, Seen.FROZEN): Description(MachineState.STOPPING),
    (Phase.FROZEN, Seen.RUNNING): Description(MachineState.RUNNING, odd="resumed from outside"),
    (Phase.FROZEN, Seen.FROZEN): Description(MachineState.ASLEEP, SleepKind.HIBERNATED),
    (Phase.STOPPING, Seen.RUNNING): Description(MachineState.STOPPING),
    (Phase.STOPPING, Seen.FROZEN): Description(MachineState.STOPPING),
    (Phase.STOPPING, Seen.DEAD): Description(MachineState.STOPPING),
    (Phase.STOPPED, Seen.DEAD): Description(MachineState.ASLEEP, SleepKind.STOPPED),
}


def describe(phase: Phase, seen: Seen) -> Description:
    """What to answer to someone who observes; odd is what nobody asked for."""
    return (
        DESCRIPTIONS.get((phase, seen))
        or {
            Seen.RUNNING: Description(MachineState.RUNNING),
            Seen.FROZEN: Description(
                MachineState.ASLEEP, SleepKind.HIBERNATED, "frozen from outside"
            ),
            Seen.DEAD: Description(
                MachineState.ASLEEP, SleepKind.STOPPED, f"the worker died while {phase}"
            ),
        }[seen]
    )
