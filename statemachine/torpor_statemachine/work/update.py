"""updating: change the machine while it is stopped."""

from __future__ import annotations

from torpor_provisioner.contract import Changeable, Provisioner
from torpor_provisioner.errors import Gone
from torpor_statemachine.errors import CannotChange
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import spec
from torpor_statemachine.work.claimed_work import Work
from torpor_statemachine.work.clouds import PERMANENT_ERRORS, TRANSIENT_ERRORS


async def update(work: Work) -> None:
    """Ends in `updated`, `update_failed` or `lost`."""
    try:
        await _change(work)
    except Gone as error:
        await work.complete(work.transitions.lost, error)
    except (CannotChange, *PERMANENT_ERRORS, *TRANSIENT_ERRORS) as error:
        await work.complete(work.transitions.failed, Event.UPDATE_FAILED, error)
    else:
        await work.complete(work.transitions.done, Event.UPDATED)


async def _change(work: Work) -> None:
    retry = work.retry()
    while True:
        try:
            await work.call("update", lambda provisioner: _changed(work, provisioner))
        except TRANSIENT_ERRORS:
            if work.left() <= 0:
                raise
            await work.pause(retry.pause())
        else:
            return


async def _changed(work: Work, provisioner: Provisioner) -> None:
    satellite = work.satellite
    if not isinstance(provisioner, Changeable):
        raise CannotChange(satellite.provisioner)
    ref = satellite.ref
    assert ref is not None
    await provisioner.resize(ref, spec(satellite))
    await provisioner.update(ref, spec(satellite))
