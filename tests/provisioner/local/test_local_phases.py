"""What is to be done next, decided without a process or a file."""

from __future__ import annotations

from itertools import product

import pytest

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import NotReady
from torpor_provisioner.local.phases import (
    Action,
    Seen,
    Step,
    Timing,
    describe,
    next_step,
    to_sleep,
    to_wake,
)
from torpor_provisioner.local.record import Phase

EVERYTHING = list(product(Phase, Seen))
EFFECT = {
    Action.START: Seen.RUNNING,
    Action.RESUME: Seen.RUNNING,
    Action.FREEZE: Seen.FROZEN,
    Action.KILL: Seen.DEAD,
    Action.END: Seen.DEAD,
}


def settle(phase: Phase, seen: Seen, *, due: bool = True) -> tuple[Phase, Seen]:
    """Take every step, each with its effect."""
    for _ in range(len(Phase) + 1):
        step = next_step(phase, seen, due=due)
        if step is None:
            return phase, seen
        phase = step.phase
        seen = EFFECT[step.action] if step.action else seen
    raise AssertionError(f"no rest from {phase}, {seen}")


@pytest.mark.parametrize(("phase", "seen"), EVERYTHING)
def test_whatever_is_found_comes_to_rest(phase: Phase, seen: Seen) -> None:
    phase, seen = settle(phase, seen)
    assert describe(phase, seen).state in {MachineState.RUNNING, MachineState.ASLEEP}


@pytest.mark.parametrize(("phase", "seen"), EVERYTHING)
def test_a_wake_leads_to_running_from_wherever_it_is(phase: Phase, seen: Seen) -> None:
    phase, seen = settle(phase, seen)
    step = to_wake(phase, seen)
    phase, seen = settle(step.phase if step else phase, seen)
    assert describe(phase, seen).state is MachineState.RUNNING
    assert to_wake(phase, seen) is None, "a second wake has no effect"


@pytest.mark.parametrize("how", SleepKind)
@pytest.mark.parametrize(("phase", "seen"), EVERYTHING)
def test_a_sleep_leads_to_asleep(phase: Phase, seen: Seen, how: SleepKind) -> None:
    phase, seen = settle(phase, seen)
    step = to_sleep(phase, seen, how)
    if step is not None:
        assert step.action is not None
        phase, seen = settle(step.phase, EFFECT[step.action])
    assert describe(phase, seen).state is MachineState.ASLEEP
    assert to_sleep(phase, seen, how) is None, "a second sleep has no effect"


@pytest.mark.parametrize("phase", [Phase.FREEZING, Phase.STOPPING])
def test_what_falls_asleep_cannot_be_woken_yet(phase: Phase) -> None:
    with pytest.raises(NotReady):
        to_wake(phase, Seen.FROZEN)


@pytest.mark.parametrize(
    ("phase", "seen"), [(Phase.STARTING, Seen.DEAD), (Phase.RESUMING, Seen.FROZEN)]
)
def test_what_wakes_cannot_be_put_to_sleep_yet(phase: Phase, seen: Seen) -> None:
    with pytest.raises(NotReady):
        to_sleep(phase, seen, SleepKind.STOPPED)
    assert to_wake(phase, seen) is None, "it is on its way"
    assert describe(phase, seen).state is MachineState.PENDING


def test_nothing_slow_happens_before_it_is_due() -> None:
    assert settle(Phase.STARTING, Seen.DEAD, due=False) == (Phase.STARTING, Seen.DEAD)
    assert settle(Phase.RESUMING, Seen.FROZEN, due=False) == (Phase.RESUMING, Seen.FROZEN)
    assert settle(Phase.FREEZING, Seen.RUNNING, due=False) == (Phase.FREEZING, Seen.FROZEN)
    assert settle(Phase.STOPPING, Seen.RUNNING, due=False) == (Phase.STOPPING, Seen.RUNNING)


def test_a_start_that_was_not_written_down_is_not_made_twice() -> None:
    assert next_step(Phase.STARTING, Seen.RUNNING, due=True) == Step(Phase.RUNNING)


@pytest.mark.parametrize(
    ("phase", "seen", "kind"),
    [
        (Phase.RUNNING, Seen.DEAD, SleepKind.STOPPED),
        (Phase.FROZEN, Seen.DEAD, SleepKind.STOPPED),
        (Phase.RUNNING, Seen.FROZEN, SleepKind.HIBERNATED),
        (Phase.FROZEN, Seen.RUNNING, None),
    ],
)
def test_what_nobody_asked_for_is_told_as_odd(
    phase: Phase, seen: Seen, kind: SleepKind | None
) -> None:
    assert describe(phase, seen).kind is kind
    assert describe(phase, seen).odd


def test_only_passing_phases_last() -> None:
    timing = Timing(start_delay=1, resume_delay=2, freeze_delay=3, stop_grace=4)
    assert [timing.of(phase) for phase in Phase] == [1, 0, 2, 3, 0, 4, 0]
