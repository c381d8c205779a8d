"""launching: make the machine, and wait for its worker.

The token names the satellite and the generation, so that a call repeated after a lost answer, or
by another node, gives the same machine.
"""

from __future__ import annotations

from torpor_provisioner.errors import Gone, TorporError
from torpor_statemachine import clock
from torpor_statemachine.errors import ProvisionerBroke, WorkerSilent
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import spec
from torpor_statemachine.lifecycle.states import WakeKind
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.work.claimed_work import Work
from torpor_statemachine.work.clouds import PERMANENT_ERRORS, TRANSIENT_ERRORS
from torpor_statemachine.work.wake import arrived, start


async def launch(work: Work) -> None:
    """Ends in `launched` or `launch_failed`."""
    try:
        if work.satellite.ref is None and not await _make(work):
            return
        there = await start(work, call_first=False)
    except (Gone, WorkerSilent, *PERMANENT_ERRORS, *TRANSIENT_ERRORS) as error:
        await work.complete(work.transitions.failed, Event.LAUNCH_FAILED, error)
    else:
        await arrived(work, Event.LAUNCHED, there, WakeKind.LAUNCHED)


async def _make(work: Work) -> bool:
    """Launch, and keep the machine's name; False if the claim was lost meanwhile."""
    wanted = spec(work.satellite)
    retry = work.retry()
    obstacle: TorporError = ProvisionerBroke("launch")
    while work.left() > 0:
        try:
            ref = await work.call("launch", lambda made: made.launch(wanted, wanted.launch_token))
        except TRANSIENT_ERRORS as error:
            obstacle = error
            await work.pause(retry.pause())
        else:
            return await _keep(work, ref)
    raise obstacle


async def _keep(work: Work, ref: str) -> bool:
    while True:
        try:
            return await work.named(ref)
        except DatabaseAway:
            await work.pause(clock.jittered(work.config.poll))
