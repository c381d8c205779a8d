"""An org's own caps, checked before AWS's quotas are met.

They are counted from what AWS tells, so every node counts the same. Two nodes that launch for one
org within the same second may both pass: a cap bounds cost, it is no lock.
"""

from __future__ import annotations

from torpor_provisioner.ec2 import tags
from torpor_provisioner.ec2.machines import LIVE
from torpor_provisioner.ec2.settings import Ec2Settings, Place
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.errors import Quota


async def check(
    site: Site, org: str, place: Place, settings: Ec2Settings, *, vcpus: int, machines: int = 1
) -> None:
    """Whether the org may have so many more; sleeping machines count, they may all wake.

    Raises:
        Quota: it may not.
        Fault: AWS refused, or no answer came several times.
    """
    if not place.max_machines and not place.max_vcpus:
        return
    marks = tags.filters(deployment=settings.deployment, org=org)
    live = {"Name": "instance-state-name", "Values": LIVE}
    there = await site.api.instances([*marks, live])
    if place.max_machines and len(there) + machines > place.max_machines:
        raise Quota(f"{org} has {len(there)} of its {place.max_machines} machines")
    if place.max_vcpus:
        kinds = await site.kinds(one["InstanceType"] for one in there)
        used = sum(kinds[one["InstanceType"]].vcpus for one in there)
        if used + vcpus > place.max_vcpus:
            raise Quota(f"{org} has {used} of its {place.max_vcpus} vCPUs, and asked for {vcpus}")
