"""terminating: end the machine and its disks, also one whose name was never learned."""

from __future__ import annotations

from torpor_provisioner.contract import MachineState
from torpor_provisioner.errors import Gone, TorporError
from torpor_statemachine import clock
from torpor_statemachine.errors import ProvisionerBroke
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.work.claimed_work import Work
from torpor_statemachine.work.clouds import PERMANENT_ERRORS, TRANSIENT_ERRORS


async def terminate(work: Work) -> None:
    """Ends in `ended` or `terminate_failed`."""
    try:
        await _end(work)
    except (*PERMANENT_ERRORS, *TRANSIENT_ERRORS) as error:
        await work.complete(work.transitions.failed, Event.TERMINATE_FAILED, error)
    else:
        await work.complete(work.transitions.done, Event.ENDED)


async def _end(work: Work) -> None:
    retry = work.retry()
    obstacle: TorporError = ProvisionerBroke("terminate")
    while work.left() > 0:
        try:
            refs = await _machines(work)
            for ref in refs:
                await _terminate(work, ref)
            if await _gone(work, refs):
                return
        except TRANSIENT_ERRORS as error:
            obstacle = error
        await work.pause(retry.pause())
    raise obstacle


async def _machines(work: Work) -> list[str]:
    """Its machines; a launch whose answer was lost may have left one without a recorded name."""
    if work.satellite.ref is not None:
        return [work.satellite.ref]
    owned = await work.call("owned", lambda provisioner: provisioner.owned())
    return [ref for ref, (owner, _) in owned.items() if owner == work.satellite.id]


async def _terminate(work: Work, ref: str) -> None:
    try:
        await work.call("terminate", lambda provisioner: provisioner.terminate(ref))
    except Gone:
        return


async def _gone(work: Work, refs: list[str]) -> bool:
    pause = work.config.first_look
    while work.left() > 0:
        seen = await work.call("observe", lambda provisioner: provisioner.observe(refs))
        if all(one.state is MachineState.GONE for one in seen.values()):
            return True
        if any(one.state is MachineState.RUNNING for one in seen.values()):
            return False
        await work.pause(clock.jittered(pause))
        pause = min(pause * 1.5, work.config.longest_look)
    return False
