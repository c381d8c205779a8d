"""A launch: found if it was made before, else tried size by size and zone by zone."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from torpor_provisioner.contract import Spec
from torpor_provisioner.ec2 import caps, plan, tags
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.faults import Fault, no_answer
from torpor_provisioner.ec2.kinds import Image, InstanceType
from torpor_provisioner.ec2.machines import LIVE
from torpor_provisioner.ec2.plan import Wishes
from torpor_provisioner.ec2.settings import Ec2Settings, Place
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.errors import Capacity

logger = logging.getLogger(__name__)


async def launch(site: Site, spec: Spec, token: str, place: Place, settings: Ec2Settings) -> str:
    """The instance of this token.

    ClientToken makes one attempt idempotent, and AWS forgets it some day after the machine is
    gone; the tag makes the whole launch so, whichever attempt it was that succeeded.

    Raises:
        Invalid: it cannot be made as asked.
        Quota: the org's cap, or the account's quota.
        Capacity: no attempt found a machine.
        Fault: AWS refused otherwise.
    """
    wishes = Wishes.read(spec, settings)
    found = await _found(site, token, settings)
    if found is None:
        image, kinds = await check(site, spec, wishes, settings)
        await caps.check(site, spec.org, place, settings, vcpus=kinds[wishes.size].vcpus)
        found = await _attempt(
            site,
            (
                plan.run_arguments(
                    spec,
                    token,
                    kind=kinds[size],
                    image=image,
                    subnet=subnet,
                    wishes=wishes,
                    place=place,
                    settings=settings,
                )
                for size, subnet in plan.attempts(wishes, place)
            ),
        )
        site.launched(found)
    site.observer.changed(found)
    return found


async def check(
    site: Site, spec: Spec, wishes: Wishes, settings: Ec2Settings
) -> tuple[Image, dict[str, InstanceType]]:
    """The image, and each size that is wished for, if they go together.

    Raises:
        Invalid: they do not, or there is no such thing.
        Fault: AWS refused otherwise.
    """
    image = await site.image(wishes.image)
    plan.check_owner(image, spec, settings, site.api.account)
    kinds = await site.kinds(wishes.sizes)
    for kind in kinds.values():
        plan.check(kind, image, spec)
    return image, kinds


async def _found(site: Site, token: str, settings: Ec2Settings) -> str | None:
    marks = tags.filters(deployment=settings.deployment, token=plan.launch_id(token))
    live = {"Name": "instance-state-name", "Values": LIVE}
    found = await site.api.instances([*marks, live])
    return min((one["InstanceId"] for one in found), default=None)


async def _attempt(site: Site, attempts: Iterable[dict[str, Any]]) -> str:
    refused: Fault | None = None
    for arguments in attempts:
        try:
            answer = await site.api.call(Action.RUN_INSTANCES, **arguments)
        except Fault as failed:
            if failed.meaning is not Capacity:
                raise
            [network] = arguments["NetworkInterfaces"]
            logger.info("no %s in %s: %s", arguments["InstanceType"], network["SubnetId"], failed)
            refused = failed
        else:
            for made in answer.get("Instances", ()):
                return str(made["InstanceId"])
            raise no_answer(Action.RUN_INSTANCES, "it names no instance")
    assert refused is not None, "a place has at least one subnet"
    raise refused
