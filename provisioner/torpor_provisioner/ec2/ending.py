"""The end of a machine, and of every volume it ever had."""

from __future__ import annotations

import asyncio
import time

from torpor_provisioner.contract import MachineState
from torpor_provisioner.ec2 import changing
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.machines import state_of
from torpor_provisioner.ec2.observer import Instance
from torpor_provisioner.ec2.settings import Ec2Settings
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.errors import Gone, NotReady

APPEARS_WITHIN = 30.0  # seconds that a caller waits for a new machine to be seen
POLL = 0.5  # seconds


async def terminate(site: Site, instance: str, settings: Ec2Settings) -> None:
    """Terminate it, with its volumes; those it is attached to end with it.

    Raises:
        Gone: there is no such machine.
        NotReady: it was launched a moment ago and cannot be seen yet.
        Fault: AWS refused, or no answer came several times.
    """
    machine = await _machine(site, instance)
    if state_of(machine) is not MachineState.GONE:
        await site.api.call(Action.TERMINATE_INSTANCES, InstanceIds=[instance])
        site.observer.changed(instance)
    await changing.delete_loose_volumes(site, machine, settings)


async def _machine(site: Site, instance: str) -> Instance:
    end = time.monotonic() + APPEARS_WITHIN
    while True:
        found = (await site.observer.look([instance]))[instance]
        if found is not None:
            return found
        if not site.may_appear(instance):
            raise Gone(f"EC2 knows no instance {instance}")
        if time.monotonic() > end:
            raise NotReady(f"instance {instance} is not yet to be seen")
        await asyncio.sleep(POLL)
        site.observer.changed(instance)
