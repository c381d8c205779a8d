"""Wake and sleep of one machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.ec2 import settling, tags
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.api import PAUSE, TRIES
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.ec2.machines import sleep_kind, state_of
from torpor_provisioner.ec2.settings import Ec2Settings
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.errors import Capacity, Gone, NotReady, Unanswered

logger = logging.getLogger(__name__)

# "Troubleshoot EC2 instance hibernation" in the Amazon EC2 User Guide: too young a machine is
# refused with UnsupportedOperation, one that was not launched for it with the other.
CANNOT_HIBERNATE = frozenset({"UnsupportedOperation", "UnsupportedHibernationConfiguration"})
AWAKE = frozenset({MachineState.PENDING, MachineState.RUNNING})
GOING = frozenset({MachineState.STOPPING, MachineState.ASLEEP})


async def wake(site: Site, instance: str) -> None:
    """Start or resume it; an alternative size is taken where there is no capacity for its own, and
    its own again as soon as there is.

    Raises:
        NotReady: it is still stopping, or not yet to be seen.
        Capacity: there is none for any size that would do.
        Gone: it does not exist any more.
        Fault: AWS refused otherwise.
    """
    await _give_back(site, instance)
    try:
        await _ask(site, instance, site.starts.ask, AWAKE)
    except Fault as failed:
        if failed.meaning is not Capacity or not await _start_another_size(site, instance):
            raise


async def sleep(site: Site, instance: str, how: SleepKind, settings: Ec2Settings) -> None:
    """Hibernate or stop it; a machine that cannot hibernate is stopped, and the reason noted.

    Raises:
        NotReady: it is still being launched, started or resumed, or was so a moment ago.
        Gone: it does not exist any more.
        Fault: AWS refused otherwise.
    """
    note = ""
    try:
        if how is SleepKind.HIBERNATED:
            note = await _unready(site, instance, settings)
            how = SleepKind.STOPPED if note else how
        try:
            await _ask(site, instance, site.stops[how].ask, GOING)
        except Fault as failed:
            if how is not SleepKind.HIBERNATED or failed.code not in CANNOT_HIBERNATE:
                raise
            note = f"stopped, not hibernated: {failed.message}"
            logger.warning("%s was %s", instance, note)
            await _ask(site, instance, site.stops[SleepKind.STOPPED].ask, GOING)
    finally:
        site.notes.pop(instance, None)
        if note:
            site.notes[instance] = note


async def _unready(site: Site, instance: str, settings: Ec2Settings) -> str:
    """Why a machine that runs has yet nothing to hibernate with; empty if it may have.

    Raises:
        NotReady: its agent would ignore the wish.
    """
    machine = (await site.observer.look([instance]))[instance]
    if machine is None or state_of(machine) is not MachineState.RUNNING:
        return ""  # what it is asked for says what it is instead
    now = datetime.now(UTC)
    if settling.is_new(machine, now, settings.hibernate_after_launch):
        return "stopped, not hibernated: so soon after its launch it may not be set up for it"
    if settling.just_started(machine, now, settings.hibernate_after_start):
        raise NotReady(f"instance {instance} has just started, and would ignore a hibernation")
    return ""


async def _ask(
    site: Site,
    instance: str,
    ask: Callable[[str], Awaitable[None]],
    reached: frozenset[MachineState],
) -> None:
    """Ask until it is answered; after a lost answer, only if it shows that nothing was done."""
    lost = 0
    while True:
        try:
            await ask(instance)
        except Fault as failed:
            if failed.meaning is Gone:
                raise _absent(site, instance) from failed
            if failed.code == "IncorrectInstanceState":
                return await _explain(site, instance, reached, failed, unsure=lost > 0)
            lost += failed.unsure
            if not failed.unsure or lost == TRIES:
                raise
            await asyncio.sleep(PAUSE * 2**lost)
            site.observer.changed(instance)
            if await _state(site, instance) in reached:
                return None
        else:
            return None
        finally:
            site.observer.changed(instance)


async def _explain(
    site: Site, instance: str, reached: frozenset[MachineState], failed: Fault, *, unsure: bool
) -> None:
    """Why a machine is in no state for it; nothing is wrong if it is there already.

    Raises:
        NotReady: it moves, and nothing was done.
        Unanswered: it moves, and an earlier try may be why.
        Gone: it is terminated.
    """
    site.observer.changed(instance)
    state = await _state(site, instance)
    if state is MachineState.GONE:
        raise Gone(f"instance {instance} is terminated") from failed
    if state not in reached:
        meaning = Unanswered if unsure else NotReady
        raise meaning(f"instance {instance} is {state}") from failed


async def _state(site: Site, instance: str) -> MachineState:
    found = (await site.observer.look([instance]))[instance]
    if found is None:
        raise _absent(site, instance)
    return state_of(found)


def _absent(site: Site, instance: str) -> NotReady | Gone:
    if site.may_appear(instance):
        return NotReady(f"instance {instance} is not yet to be seen")
    return Gone(f"EC2 knows no instance {instance}")


async def _start_another_size(site: Site, instance: str) -> bool:
    """Try the satellite's other sizes in turn; where there is none it has its own again."""
    machine = await site.observer.one(instance)
    if not _can_change(machine):
        return False
    others = await _others(site, machine)
    for size in others:
        await _set_size(site, instance, size)
        logger.info("no capacity for %s as %s; trying %s", instance, machine["InstanceType"], size)
        try:
            await _ask(site, instance, site.starts.ask, AWAKE)
        except Fault as failed:
            if failed.meaning is not Capacity:
                raise
        else:
            return True
    if others:
        await _set_size(site, instance, machine["InstanceType"])
    return False


async def _give_back(site: Site, instance: str) -> None:
    """Its own size, where a wake had to take another. No look is made for it: the size of a machine
    at rest is as it was last seen, and who has not seen it leaves it to who has."""
    machine = site.observer.last(instance)
    if machine is None or not _can_change(machine):
        return
    wanted = tags.read(machine).get(tags.SIZES, "").split()[:1]
    if wanted in ([], [machine["InstanceType"]]):
        return
    try:
        await _set_size(site, instance, wanted[0])
    except Fault as failed:  # it starts as it is: somebody else may be at it already
        logger.info("%s stays %s: %s", instance, machine["InstanceType"], failed)


async def _set_size(site: Site, instance: str, size: str) -> None:
    await site.api.call(
        Action.MODIFY_INSTANCE_ATTRIBUTE, InstanceId=instance, InstanceType={"Value": size}
    )
    site.observer.changed(instance)


def _can_change(machine: Mapping[str, Any]) -> bool:
    """Memory on disk fits no other size."""
    stopped = state_of(machine) is MachineState.ASLEEP
    return stopped and sleep_kind(machine) is SleepKind.STOPPED


async def _others(site: Site, machine: Mapping[str, Any]) -> list[str]:
    named = tags.read(machine).get(tags.SIZES, "").split()
    kinds = await site.kinds({*named, machine["InstanceType"]})
    arches = kinds[machine["InstanceType"]].arches
    return [n for n in named if n != machine["InstanceType"] and kinds[n].arches & arches]
