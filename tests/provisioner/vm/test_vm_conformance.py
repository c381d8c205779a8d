"""The vm provisioner keeps the contract, with real machines."""

from __future__ import annotations

import pytest
from vmkit.machines import WITHIN, needs_qemu

from torpor_provisioner.conformance import (
    CHECKS,
    Check,
    Subject,
    a_call_whose_time_is_up_has_no_effect,
    a_launched_machine_runs_at_an_address,
    another_node_carries_on,
    launches_at_once_make_one_machine,
    machines_are_owned_until_they_are_gone,
    nothing_is_known_of_an_unknown_machine,
    sleeping_twice_sleeps_once,
    terminating_twice_is_terminating_once,
)

pytestmark = [needs_qemu, pytest.mark.timeout(600)]
# The others launch or boot more often than an ordinary test run has time for.
QUICK = {
    a_call_whose_time_is_up_has_no_effect,
    a_launched_machine_runs_at_an_address,
    another_node_carries_on,
    launches_at_once_make_one_machine,
    machines_are_owned_until_they_are_gone,
    nothing_is_known_of_an_unknown_machine,
    sleeping_twice_sleeps_once,
    terminating_twice_is_terminating_once,
}


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, marks=[] if check in QUICK else pytest.mark.slow, id=check.__name__)
        for check in CHECKS
    ],
)
async def test_conformance(check: Check, vm, spec) -> None:
    await check(
        Subject(
            one=vm(),
            other=vm(),
            spec=spec,
            unknown_ref="vm-0123456789abcdef",
            patience=WITHIN,
        )
    )
