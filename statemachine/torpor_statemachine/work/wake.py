"""waking: start the machine, once, and wait for its worker.

A second start call is made only if the cloud shows that the first had no effect.
"""

from __future__ import annotations

import logging

from torpor_provisioner.contract import Address, MachineState, Observed
from torpor_provisioner.errors import Capacity, Gone, NotReady, TorporError
from torpor_statemachine import clock
from torpor_statemachine.errors import WorkerSilent
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import wake_kind
from torpor_statemachine.work.arrival import Arrival
from torpor_statemachine.work.claimed_work import Unsettled, Work
from torpor_statemachine.work.clouds import LASTING, PASSING

logger = logging.getLogger(__name__)


async def wake(work: Work) -> None:
    """Ends in `woke`, `wake_refused`, `wake_failed` or `lost`."""
    try:
        address = await start(work, call_first=work.fresh)
    except Gone as error:
        await work.settle(work.transitions.lost, error)
    except WorkerSilent as error:
        await work.settle(work.transitions.wake_failed, error)
    except (*LASTING, *PASSING) as error:
        await work.settle(work.transitions.wake_refused, error)
    else:
        await arrived(work, address)


async def arrived(work: Work, address: Address) -> None:
    kind = wake_kind(work.satellite)
    changed = await work.settle(work.transitions.arrived, Event.WOKE, address, kind)
    if changed is not None and changed.transition.took is not None:
        took = changed.transition.took.total_seconds()
        work.observer.woke(changed.satellite, kind, took)


async def start(work: Work, *, call_first: bool) -> Address:
    """Have the machine running; where its worker answers.

    Raises:
        Gone: there is no machine any more.
        WorkerSilent: it runs, and the worker did not answer within the claim's time.
        Unsettled: time is up, and whether the last call started it is not known.
        ProvisionerError: the cloud did not start it, whatever was tried.
    """
    retry = work.retry()
    obstacle: TorporError = WorkerSilent(f"no answer from {work.satellite.address}")
    called_at: float | None = None
    must_call, unknown = call_first, False
    while work.left() > 0:
        if must_call:
            try:
                await _call(work)
                called_at = clock.now()
                if not isinstance(obstacle, WorkerSilent):
                    obstacle = WorkerSilent(f"no answer from {work.satellite.address}")
            except PASSING as error:
                obstacle = error
                called_at = None
                unknown = not isinstance(error, NotReady | Capacity)
                await work.pause(retry.pause())
        match await Arrival(work, called_at).outcome():
            case Address() as address:
                return address
            case None:
                break
            case seen if seen.state is MachineState.GONE:
                raise Gone(seen.detail)
            case seen:
                if called_at is not None:
                    obstacle = _down_again(work, seen)
                    work.obstacles.met("worker", obstacle)
                must_call, unknown = True, False
    if unknown:
        raise Unsettled from obstacle
    raise obstacle


def _down_again(work: Work, seen: Observed) -> WorkerSilent:
    """Its last words, while it is started anew: a worker that cannot run ends so each time."""
    told = f"it fell asleep again as soon as it was started: {seen.detail}"
    logger.warning("%s: %s", work.satellite.full_name, told)
    return WorkerSilent(told)


async def _call(work: Work) -> None:
    ref = work.satellite.ref
    assert ref is not None
    await work.call("wake", lambda provisioner: provisioner.wake(ref))
