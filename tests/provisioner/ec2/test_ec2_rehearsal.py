"""What AWS would let us do, asked by dry runs: which action is missing, and nothing done."""

from __future__ import annotations

from typing import Any

from torpor_provisioner.contract import Rehearsing
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.faithful_ec2.script import Fault

WITHOUT_A_MACHINE = {action for action in Action if action.reads} | {Action.RUN_INSTANCES}


async def test_before_the_first_launch_what_needs_no_machine_is_tried(
    ec2: Any, faithful: Any
) -> None:
    one = ec2()
    assert isinstance(one, Rehearsing)
    [told] = (await one.rehearse()).values()
    assert (set(told.allowed), dict(told.refused)) == (WITHOUT_A_MACHINE, {})
    assert set(told.untried) == set(Action) - WITHOUT_A_MACHINE
    assert not faithful.front.world.machines, "nothing is launched"


async def test_with_a_machine_every_call_is_tried_and_none_made(
    ec2: Any, faithful: Any, spec: Any, drive: Any
) -> None:
    one = ec2()
    await drive.running(one, spec())
    faithful.front.calls.entries.clear()
    [told] = (await one.rehearse()).values()
    assert (set(told.allowed), dict(told.refused)) == (set(Action), {})
    done = [each for each in faithful.front.calls.entries if not each.code]
    assert {each.action for each in done} <= {action for action in Action if action.reads}
    assert not any(each.effective for each in done)


async def test_a_permission_that_is_missing_is_named(
    ec2: Any, faithful: Any, spec: Any, drive: Any
) -> None:
    one, script = ec2(), faithful.front.script
    await drive.running(one, spec())
    secret = "You are not authorized. Encoded authorization failure message: c2VjcmV0"
    for action in Action:
        fault = Fault(action, code="UnauthorizedOperation", message=secret, status=403, times=99)
        script.faults[:] = [fault]
        [told] = (await one.rehearse()).values()
        assert list(told.refused) == [action]
        why = told.refused[action]
        assert why.startswith(f"{action}: UnauthorizedOperation: You are not authorized")
        assert "c2VjcmV0" not in why
        assert action not in told.allowed
