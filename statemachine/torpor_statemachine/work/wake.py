"""waking: start the machine, once, and wait for its worker.

A second start call is made only if the cloud shows that the first had no effect.
"""

from __future__ import annotations

import logging
from functools import partial

from torpor_provisioner.contract import MachineState, Observed
from torpor_provisioner.errors import Capacity, Gone, NotReady, TorporError
from torpor_statemachine.errors import WorkerSilent
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import memory_lost, wake_kind
from torpor_statemachine.lifecycle.states import WakeKind
from torpor_statemachine.work.arrival import Arrival, Arrived
from torpor_statemachine.work.claimed_work import OutcomeUnknown, Work
from torpor_statemachine.work.clouds import PERMANENT_ERRORS, TRANSIENT_ERRORS

logger = logging.getLogger(__name__)

_UP = (MachineState.RUNNING, MachineState.PENDING)
_MEMORY_LOST = "it was told to hibernate, and booted anew: its memory was not kept"


async def wake(work: Work) -> None:
    """Ends in `woke`, `wake_refused`, `wake_failed` or `lost`."""
    try:
        there = await start(work, call_first=work.newly_claimed)
    except Gone as error:
        await work.complete(work.transitions.lost, error)
    except WorkerSilent as error:
        await work.complete(work.transitions.wake_failed, error)
    except (*PERMANENT_ERRORS, *TRANSIENT_ERRORS) as error:
        await work.complete(work.transitions.wake_refused, error)
    else:
        await arrived(work, Event.WOKE, there, wake_kind(work.satellite, there.boot_id))


async def arrived(work: Work, event: Event, there: Arrived, kind: WakeKind) -> None:
    """Write `woke` or `launched`, and what became of its memory."""
    lost = event is Event.WOKE and memory_lost(work.satellite, kind)
    changed = await work.complete(
        work.transitions.arrived,
        event,
        there.address,
        kind,
        boot_id=there.boot_id,
        learned=work.undisturbed,
        detail=_MEMORY_LOST if lost else "",
    )
    if changed is not None and lost:
        work.observer.lost_memory(changed.satellite)
    if changed is not None and changed.transition.took is not None:
        took = max(
            0.0, changed.transition.took.total_seconds()
        )  # the database's clock may be set back
        work.observer.woke(changed.satellite, kind, took)


async def start(work: Work, *, call_first: bool) -> Arrived:
    """Have the machine running, with a worker that answers.

    Raises:
        Gone: there is no machine any more.
        WorkerSilent: it runs, and the worker did not answer within the claim's time.
        OutcomeUnknown: time is up; whether the last call started it is not known, or it is still
            coming up, and to stop it now would be to wake it never.
        ProvisionerError: the cloud did not start it, whatever was tried.
    """
    retry = work.retry()
    obstacle: TorporError | None = None
    must_call, unknown = call_first, False
    seen: Observed | None = None
    while work.left() > 0:
        arrival = Arrival(work, partial(_call, work) if must_call else None)
        try:
            outcome = await arrival.outcome()
        except TRANSIENT_ERRORS as error:
            obstacle, must_call = error, False
            unknown = not isinstance(error, NotReady | Capacity)
            work.undisturbed = False
            await work.pause(retry.pause())
            continue
        match outcome:
            case Arrived() as there:
                return there
            case None:
                seen = arrival.seen
                up = seen is not None and seen.state in _UP
                unknown = (unknown or arrival.unanswered) and not up
                if up or must_call or obstacle is None:
                    obstacle = arrival.silent
            case gone if gone.state is MachineState.GONE:
                raise Gone(gone.detail)
            case asleep:
                if must_call:
                    obstacle = _down_again(work, asleep)
                    work.obstacles.met("worker", obstacle)
                must_call, unknown = True, False
    if unknown:
        raise OutcomeUnknown("the machine does not show how it is") from obstacle
    if seen is not None and seen.state is MachineState.PENDING and work.age() < work.longest:
        raise OutcomeUnknown("the machine is still coming up")
    raise obstacle or WorkerSilent(f"no answer from {work.satellite.address}")


def _down_again(work: Work, seen: Observed) -> TorporError:
    """Its last words, while it is started anew: a worker that cannot run ends so each time.

    Raises:
        ProvisionerError: the cloud stopped it, and would do so again.
    """
    if isinstance(seen.failure, PERMANENT_ERRORS):
        raise seen.failure
    if seen.failure is not None:
        return seen.failure
    detail = f"it fell asleep again as soon as it was started: {seen.detail}"
    logger.warning("%s: %s", work.satellite.full_name, detail)
    return WorkerSilent(detail)


async def _call(work: Work) -> None:
    ref = work.satellite.ref
    assert ref is not None
    await work.call("wake", lambda provisioner: provisioner.wake(ref))
