"""What is done to a machine while it is stopped: another size, larger disks, a new image.

Each is idempotent and safe to be broken off: what is left to do is read from AWS every time.
None of it is done to a hibernated machine, whose memory belongs to this size and this root.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from torpor_provisioner.contract import MachineState, SleepKind, Spec
from torpor_provisioner.ec2 import caps, plan, tags
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.ec2.kinds import Image, InstanceType
from torpor_provisioner.ec2.machines import sleep_kind, state_of
from torpor_provisioner.ec2.plan import CACHE_DEVICE, Wishes
from torpor_provisioner.ec2.settings import Ec2Settings, Place
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.errors import Gone, Invalid, NotReady

VOLUME_WITHIN = 60.0  # seconds for a volume to be made, attached or detached
VOLUME_POLL = 0.5  # seconds

# What AWS answers where an earlier attempt, whose answer was lost, has done it.
DONE: Mapping[Action, frozenset[str]] = {
    Action.DETACH_VOLUME: frozenset({"IncorrectState", "InvalidAttachment.NotFound"}),
    Action.ATTACH_VOLUME: frozenset({"VolumeInUse"}),
    Action.DELETE_VOLUME: frozenset({"InvalidVolume.NotFound"}),
}

Machine = Mapping[str, Any]


async def resize(
    site: Site, instance: str, spec: Spec, place: Place, settings: Ec2Settings
) -> None:
    """Give it the spec's size and at least the spec's cache; a volume never shrinks.

    Raises:
        NotReady: it is not stopped.
        Invalid: it hibernates, or the size cannot run it.
        Quota: the org's cap.
        Fault: AWS refused otherwise.
    """
    machine = await _stopped(site, instance)
    wishes = Wishes.read(spec, settings)
    kinds = await site.kinds({*wishes.sizes, machine["InstanceType"]})
    before, after = kinds[machine["InstanceType"]], kinds[wishes.size]
    _fits(machine, before, after)
    if after is not before:
        more = max(0, after.vcpus - before.vcpus)
        await caps.check(site, spec.org, place, settings, vcpus=more, machines=0)
    await _grow(site, machine, wishes, before, after)
    if after is not before:
        await site.api.call(
            Action.MODIFY_INSTANCE_ATTRIBUTE,
            InstanceId=instance,
            InstanceType={"Value": after.name},
        )
    marks = tags.as_list({tags.SIZES: " ".join(wishes.sizes)})
    await site.api.call(Action.CREATE_TAGS, Resources=[instance], Tags=marks)
    site.observer.changed(instance)


async def update(site: Site, instance: str, spec: Spec, settings: Ec2Settings) -> None:
    """Replace its root volume by one of the spec's image; the cache volume stays.

    Raises:
        NotReady: it is not stopped, or a volume takes long.
        Invalid: it hibernates, or the image cannot run on it or is not to be trusted.
        Fault: AWS refused otherwise.
    """
    machine = await _stopped(site, instance)
    image = await site.image(Wishes.read(spec, settings).image)
    plan.check_owner(image, spec, settings, site.api.account)
    plan.check((await site.kinds([machine["InstanceType"]]))[machine["InstanceType"]], image, spec)
    volumes = {v["VolumeId"]: v for v in await volumes_of(site, machine, settings)}
    old = _disk(machine, machine["RootDeviceName"])
    if old is None or _image_of(volumes.get(old, {}), machine) != image.id:
        new = await _new_root(site, machine, image, volumes, settings)
        if old is not None:
            await _do(site, Action.DETACH_VOLUME, VolumeId=old, InstanceId=instance)
            await _becomes(site, old, "available")
        await _do(
            site,
            Action.ATTACH_VOLUME,
            VolumeId=new,
            InstanceId=instance,
            Device=machine["RootDeviceName"],
        )
        await _becomes(site, new, "in-use")
        site.observer.changed(instance)
    await _ends_with_machine(site, instance, machine["RootDeviceName"])
    await delete_loose_volumes(site, machine, settings)


async def delete_loose_volumes(site: Site, machine: Machine, settings: Ec2Settings) -> None:
    """Delete what an update, or a terminated machine, has left of this machine's volumes."""
    for volume in await volumes_of(site, machine, settings):
        if volume["State"] == "available":
            await _do(site, Action.DELETE_VOLUME, VolumeId=volume["VolumeId"])


async def volumes_of(site: Site, machine: Machine, settings: Ec2Settings) -> list[dict[str, Any]]:
    """Its volumes, attached or not; none where somebody took its tags away."""
    owner = tags.owner(tags.read(machine))
    if owner is None:
        return []
    marks = tags.filters(
        deployment=settings.deployment, satellite_id=str(owner[0]), generation=str(owner[1])
    )
    return [one async for one in site.api.pages(Action.DESCRIBE_VOLUMES, "Volumes", Filters=marks)]


async def _stopped(site: Site, instance: str) -> Machine:
    site.observer.changed(instance)
    machine = await site.observer.one(instance)
    state = state_of(machine)
    if state is MachineState.GONE:
        raise Gone(f"instance {instance} is terminated")
    if state is not MachineState.ASLEEP:
        raise NotReady(f"instance {instance} is {state}; it must be stopped first")
    if sleep_kind(machine) is SleepKind.HIBERNATED:
        raise Invalid(f"instance {instance} is hibernated; wake it, and stop it, first")
    return machine


def _fits(machine: Machine, before: InstanceType, after: InstanceType) -> None:
    if not before.arches & after.arches:
        raise Invalid(f"{after.name} is another architecture than {before.name}")
    able = machine.get("HibernationOptions", {}).get("Configured", False)
    if able and not after.can_hibernate:
        raise Invalid(f"the machine was launched able to hibernate, and {after.name} is not")


async def _grow(
    site: Site, machine: Machine, wishes: Wishes, before: InstanceType, after: InstanceType
) -> None:
    """The cache to what is wished, the root by what more memory there is to be kept."""
    able = machine.get("HibernationOptions", {}).get("Configured", False)
    more = max(0, after.memory_gib - before.memory_gib) if able else 0
    ids = [_disk(machine, machine["RootDeviceName"]), _disk(machine, CACHE_DEVICE)]
    answer = await site.api.call(Action.DESCRIBE_VOLUMES, VolumeIds=[i for i in ids if i])
    sizes = {volume["VolumeId"]: volume["Size"] for volume in answer["Volumes"]}
    for volume, wanted in zip(ids, (sizes.get(ids[0], 0) + more, wishes.cache_gib), strict=True):
        if volume is not None and wanted > sizes[volume]:
            await site.api.call(Action.MODIFY_VOLUME, VolumeId=volume, Size=wanted)


def root_request(machine: Machine, image: Image, gib: int, settings: Ec2Settings) -> dict[str, Any]:
    """CreateVolume's arguments for a root of that image."""
    marks = {k: v for k, v in tags.read(machine).items() if k.startswith("torpor:")}
    return {
        "ClientToken": f"{machine['InstanceId']}-{image.id}",
        "AvailabilityZone": machine["Placement"]["AvailabilityZone"],
        "SnapshotId": image.root_snapshot,
        "TagSpecifications": [
            {"ResourceType": "volume", "Tags": tags.as_list(marks | {tags.IMAGE: image.id})}
        ],
        **_as_volume(plan.gp3(gib, settings.throughput)),
    }


async def _new_root(
    site: Site,
    machine: Machine,
    image: Image,
    volumes: Mapping[str, Mapping[str, Any]],
    settings: Ec2Settings,
) -> str:
    """A loose volume of that image: one that an update broken off has left, or a new one."""
    for name, volume in volumes.items():
        if tags.read(volume).get(tags.IMAGE) == image.id and volume["State"] != "in-use":
            return name
    old = volumes.get(_disk(machine, machine["RootDeviceName"]) or "", {})
    kinds = await site.kinds([machine["InstanceType"]])
    able = machine.get("HibernationOptions", {}).get("Configured", False)
    least = max(settings.root_gib, image.root_gib)
    least += kinds[machine["InstanceType"]].memory_gib if able else 0
    request = root_request(machine, image, max(least, old.get("Size", 0)), settings)
    answer = await site.api.call(Action.CREATE_VOLUME, **request)
    volume_id: str = answer["VolumeId"]
    await _becomes(site, volume_id, "available")
    return volume_id


def _as_volume(ebs: dict[str, Any]) -> dict[str, Any]:
    """CreateVolume says Size where a block device mapping says VolumeSize."""
    return {("Size" if key == "VolumeSize" else key): value for key, value in ebs.items()}


async def _ends_with_machine(site: Site, instance: str, device: str) -> None:
    """AWS keeps a volume that was attached later, unless it is told not to."""
    mapping = {"DeviceName": device, "Ebs": {"DeleteOnTermination": True}}
    await site.api.call(
        Action.MODIFY_INSTANCE_ATTRIBUTE, InstanceId=instance, BlockDeviceMappings=[mapping]
    )


async def _do(site: Site, action: Action, **arguments: Any) -> None:
    """A call to a volume; to know how it ended, wait for the state it leads to."""
    try:
        await site.api.call(action, **arguments)
    except Fault as failed:
        if failed.code not in DONE[action]:
            raise


async def _becomes(site: Site, volume: str, state: str) -> None:
    end = time.monotonic() + VOLUME_WITHIN
    while True:
        answer = await site.api.call(Action.DESCRIBE_VOLUMES, VolumeIds=[volume])
        if answer["Volumes"][0]["State"] == state:
            return
        if time.monotonic() > end:
            raise NotReady(f"volume {volume} is not {state} yet")
        await asyncio.sleep(VOLUME_POLL)


def _disk(machine: Machine, device: str) -> str | None:
    for mapping in machine.get("BlockDeviceMappings", ()):
        if mapping["DeviceName"] == device:
            volume: str = mapping["Ebs"]["VolumeId"]
            return volume
    return None


def _image_of(volume: Mapping[str, Any], machine: Machine) -> str:
    """What a root volume was made from: the launch's image, unless an update has marked it."""
    launched: str = machine["ImageId"]
    return tags.read(volume).get(tags.IMAGE, launched)
