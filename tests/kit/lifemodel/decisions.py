"""The code's own decisions, `policy.next_step` and `policy.drift`, over what the model knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID

from torpor_provisioner.contract import Address, Arch, MachineState, Observed
from torpor_statemachine.lifecycle.policy import ClaimWake, Fail, RequestWake, drift, next_step
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import SleepMode, State

NOBODY = UUID(int=0)
FAILURE = "TPR-2202 no"
PATIENCE = 3600.0

SATELLITE = Satellite(
    id=NOBODY,
    org_id=NOBODY,
    org="acme",
    name="one",
    provisioner="cloud",
    arch=Arch.X86_64,
    size="",
    sleep_mode=SleepMode.AUTO,
    sleep_after=timedelta(minutes=30),
    state=State.RUNNING,
    state_since=datetime.now(UTC),
    created_at=datetime.now(UTC),
    generation=1,
    epoch=1,
    address=Address("cloud", 1),
)


@cache
def decided(
    state: State, epoch: int, wanted: bool, failed: bool, epoch_began: int, failed_began: bool
) -> object | None:
    satellite = replace(
        SATELLITE,
        state=state,
        epoch=epoch,
        wake_requested=wanted,
        failure=FAILURE if failed else None,
    )
    began = epoch_began, FAILURE if failed_began else None
    step = next_step(satellite, began, PATIENCE)
    return step if isinstance(step, ClaimWake | RequestWake | Fail) else None


@cache
def drifted(state: State, machine: bool) -> bool:
    seen = MachineState.RUNNING if machine else MachineState.ASLEEP
    satellite = replace(SATELLITE, state=state)
    return drift(satellite, Observed(seen, Address("cloud", 1))) is not None
