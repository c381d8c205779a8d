"""Every call that this package makes, made with DryRun: AWS says whether it would be let through.

"DryRun" of the Amazon EC2 API Reference: "Checks whether you have the required permissions for the
action, without actually making the request": the answer is an error, DryRunOperation if they are
there. Calls to a machine need one, since the shipped policy allows them on our machines alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import Rehearsal, Spec
from torpor_provisioner.ec2 import changing, plan, tags
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.ec2.launching import check
from torpor_provisioner.ec2.plan import Wishes
from torpor_provisioner.ec2.settings import Ec2Settings, Place
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.errors import ProvisionerError

ALLOWED = "DryRunOperation"
_ID = UUID(int=0)  # of the satellite that is not launched
_TOKEN = "rehearsal/0"  # noqa: S105 - a launch's name

Machine = Mapping[str, Any]


async def rehearse(site: Site, place: Place, settings: Ec2Settings) -> Rehearsal:
    """In one account and Region."""
    of_place = _OfPlace(site)
    for action in Action:
        if action.reads:
            await of_place.ask(action)
    await _launches(of_place, place, settings)
    await _changes(of_place, settings)
    return Rehearsal(
        allowed=frozenset(of_place.allowed),
        refused=of_place.refused,
        untried=frozenset(Action) - of_place.allowed - of_place.refused.keys(),
    )


class _OfPlace:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.allowed: set[str] = set()
        self.refused: dict[str, str] = {}

    async def ask(self, action: Action, **arguments: Any) -> None:
        try:
            await self.site.api.call(action, DryRun=True, **arguments)
        except Fault as answer:
            if answer.code != ALLOWED:
                self.refuse(answer)
                return
        if action not in self.refused:
            self.allowed.add(action)

    def refuse(self, answer: Fault) -> None:
        action = Action(answer.action)
        self.refused[action] = answer.as_error().detail
        self.allowed.discard(action)


async def _launches(of_place: _OfPlace, place: Place, settings: Ec2Settings) -> None:
    """A launch of each architecture, into each subnet."""
    for arch in settings.images:
        spec = Spec(_ID, 0, "rehearsal", "rehearsal", arch, "")
        try:
            wishes = Wishes.read(spec, settings)
            image, kinds = await check(of_place.site, spec, wishes, settings)
        except Fault as answer:
            of_place.refuse(answer)
            continue
        except ProvisionerError as error:
            of_place.refused[Action.RUN_INSTANCES] = error.detail
            continue
        for size, subnet in plan.attempts(wishes, place):
            arguments = plan.run_arguments(
                spec,
                _TOKEN,
                kind=kinds[size],
                image=image,
                subnet=subnet,
                wishes=wishes,
                place=place,
                settings=settings,
            )
            await of_place.ask(Action.RUN_INSTANCES, **arguments)


async def _changes(of_place: _OfPlace, settings: Ec2Settings) -> None:
    """What is done to a machine and its volumes, on one that there is."""
    site = of_place.site
    try:
        marks = tags.filters(deployment=settings.deployment)
        machines = await site.api.instances([*marks, _ALIVE])
        for machine in machines[:1]:
            volumes = await changing.volumes_of(site, machine, settings)
            for action, arguments in _requests(machine, volumes):
                await of_place.ask(action, **arguments)
            image = await site.image(machine["ImageId"])
            request = changing.root_request(machine, image, image.root_gib, settings)
            await of_place.ask(Action.CREATE_VOLUME, **request)
    except Fault as answer:
        of_place.refuse(answer)


_ALIVE = {"Name": "instance-state-name", "Values": ["running", "stopped"]}


def _requests(
    machine: Machine, volumes: list[dict[str, Any]]
) -> Iterator[tuple[Action, dict[str, Any]]]:
    instance = machine["InstanceId"]
    for action in (Action.START_INSTANCES, Action.STOP_INSTANCES, Action.TERMINATE_INSTANCES):
        yield action, {"InstanceIds": [instance]}
    size = {"InstanceType": {"Value": machine["InstanceType"]}}
    yield Action.MODIFY_INSTANCE_ATTRIBUTE, {"InstanceId": instance, **size}
    sizes = tags.as_list({tags.SIZES: machine["InstanceType"]})
    yield Action.CREATE_TAGS, {"Resources": [instance], "Tags": sizes}
    for volume in volumes[:1]:
        name = volume["VolumeId"]
        yield Action.MODIFY_VOLUME, {"VolumeId": name, "Size": volume["Size"]}
        yield Action.DETACH_VOLUME, {"VolumeId": name, "InstanceId": instance}
        device = machine["RootDeviceName"]
        yield Action.ATTACH_VOLUME, {"VolumeId": name, "InstanceId": instance, "Device": device}
        yield Action.DELETE_VOLUME, {"VolumeId": name}
