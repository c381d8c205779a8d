"""The launch plan: from what is wanted and what AWS has told, to RunInstances' arguments. Pure.

A machine has two encrypted gp3 volumes. The root holds the system and, where the machine is to
hibernate, an image of its memory: it is larger by the memory, and its throughput is what a resume
takes its time from. The cache is a volume of its own, so that an update can replace the root.

The user data is a template. In it `@TORPOR_ORG@`, `@TORPOR_SATELLITE@`, `@TORPOR_PORT@`,
`@TORPOR_IDENTITY_PORT@`, `@TORPOR_LAUNCH_TOKEN@` and `@TORPOR_CACHE_DEVICE@` are filled in and
nothing else is: no secret goes this way, since everyone who can describe the machine can read it.
What is too long for EC2 goes compressed, which cloud-init unpacks.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torpor_provisioner.contract import Spec
from torpor_provisioner.ec2 import tags
from torpor_provisioner.ec2.kinds import Image, InstanceType
from torpor_provisioner.ec2.settings import GP3, IOPS, Ec2Settings, Place
from torpor_provisioner.errors import Invalid

CACHE_DEVICE = "/dev/sdf"
MIBS_PER_IOPS = 0.25  # gp3 carries at most this throughput for each provisioned IOPS
MAX_USER_DATA = 16 * 1024  # bytes, before base64 (Amazon EC2 User Guide, "user data")
KNOWN = frozenset({"alternatives", "cache_gib", "image"})
TYPE = re.compile(r"[a-z][a-z0-9-]{1,15}\.[a-z0-9-]{2,15}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """A satellite's own settings, read: `alternatives` are sizes that will do as well."""

    size: str
    alternatives: tuple[str, ...]
    cache_gib: int
    image: str

    @property
    def sizes(self) -> tuple[str, ...]:
        return (self.size, *self.alternatives)

    @classmethod
    def read(cls, spec: Spec, settings: Ec2Settings) -> Wishes:
        """Read a spec.

        Raises:
            Invalid: a setting that there is not, or a value that cannot be.
        """
        unknown = set(spec.settings) - KNOWN
        if unknown:
            raise Invalid(
                f"ec2 satellites have the settings {sorted(KNOWN)}, not {sorted(unknown)}"
            )
        size = spec.size or settings.sizes.get(spec.arch, "")
        alternatives = tuple(spec.settings.get("alternatives", "").replace(",", " ").split())
        for name in (size, *alternatives):
            if not TYPE.fullmatch(name):
                raise Invalid(f"{name!r} is no instance type")
            if not settings.allows(name):
                allowed = ", ".join(settings.allowed_sizes)
                raise Invalid(f"satellites may not have the size {name} here; there are {allowed}")
        image = spec.settings.get("image") or settings.images.get(spec.arch, "")
        if not re.fullmatch(r"ami-[0-9a-f]{8,17}", image):
            raise Invalid(f"there is no image for {spec.arch}" + (f": {image!r}" if image else ""))
        cache = spec.settings.get("cache_gib", str(settings.cache_gib))
        least, most = GP3["cache_gib"]
        if not re.fullmatch(r"\d{1,5}", cache) or not least <= int(cache) <= most:
            raise Invalid(f"cache_gib is {cache!r}; a gp3 volume has {least} to {most} GiB")
        return cls(size, alternatives, int(cache), image)


def check(kind: InstanceType, image: Image, spec: Spec) -> None:
    """Raise Invalid if this type cannot run this satellite."""
    if not kind.runs(spec.arch):
        raise Invalid(f"{kind.name} is {'/'.join(sorted(kind.arches))}, not {spec.arch}")
    if image.arch != spec.arch:
        raise Invalid(f"image {image.id} is for {image.arch}, not {spec.arch}")


def check_owner(image: Image, spec: Spec, settings: Ec2Settings, account: str) -> None:
    """Raise Invalid if the satellite names an image of somebody whom nobody here trusts: who makes
    the image is root on the machine, and reads what its instance profile lets it read."""
    owners = image.owners | ({"self"} if account in image.owners else set())
    trusted = settings.image_owners
    if spec.settings.get("image") and "*" not in trusted and not owners & trusted:
        raise Invalid(
            f"image {image.id} belongs to {'/'.join(sorted(image.owners)) or 'nobody known'};"
            f" satellites may name images of {', '.join(sorted(trusted))}"
        )


def launch_id(token: str) -> str:
    """Names one launch, however many attempts it takes; short and plain enough for a tag."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def client_token(launch: str, size: str, subnet: str) -> str:
    """One attempt's ClientToken: AWS refuses the same one with other arguments. 64 at most."""
    attempt = hashlib.sha256(f"{size} {subnet}".encode()).hexdigest()
    return f"{launch}-{attempt[:16]}"


def attempts(wishes: Wishes, place: Place) -> Iterator[tuple[str, str]]:
    """Size and subnet, in the order to try: the wanted size in every zone before another size."""
    for size in wishes.sizes:
        for subnet in place.subnets:
            yield size, subnet


def run_arguments(
    spec: Spec,
    token: str,
    *,
    kind: InstanceType,
    image: Image,
    subnet: str,
    wishes: Wishes,
    place: Place,
    settings: Ec2Settings,
) -> dict[str, Any]:
    """RunInstances' arguments for one attempt."""
    launch = launch_id(token)
    hibernate = spec.hibernate and kind.can_hibernate
    marks = tags.as_list(tags.of(spec, launch, settings.deployment, wishes.sizes))
    arguments: dict[str, Any] = {
        "ClientToken": client_token(launch, kind.name, subnet),
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": image.id,
        "InstanceType": kind.name,
        "HibernationOptions": {"Configured": hibernate},
        "BlockDeviceMappings": disks(kind, image, wishes, settings, hibernate=hibernate),
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": subnet,
                "Groups": list(place.security_groups),
                "AssociatePublicIpAddress": False,
                "DeleteOnTermination": True,
            }
        ],
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,  # a container on the machine is one hop further away
        },
        "InstanceInitiatedShutdownBehavior": "stop",
        "TagSpecifications": [
            {"ResourceType": resource, "Tags": marks}
            for resource in ("instance", "volume", "network-interface")
        ],
    }
    if place.profile:
        arguments["IamInstanceProfile"] = {"Name": place.profile}
    if settings.user_data:
        arguments["UserData"] = user_data(spec, settings)
    return arguments


def disks(
    kind: InstanceType, image: Image, wishes: Wishes, settings: Ec2Settings, *, hibernate: bool
) -> list[dict[str, Any]]:
    root = max(settings.root_gib, image.root_gib) + (kind.memory_gib if hibernate else 0)
    return [
        {
            "DeviceName": image.root_device,
            "Ebs": gp3(root, settings.throughput) | {"DeleteOnTermination": True},
        },
        {
            "DeviceName": CACHE_DEVICE,
            "Ebs": gp3(wishes.cache_gib, settings.throughput) | {"DeleteOnTermination": True},
        },
    ]


def gp3(gib: int, throughput: int) -> dict[str, Any]:
    """An encrypted volume of that throughput in MiB/s."""
    return {
        "VolumeType": "gp3",
        "VolumeSize": gib,
        "Encrypted": True,
        "Throughput": throughput,
        "Iops": max(IOPS, -int(-throughput // MIBS_PER_IOPS)),
    }


def user_data(spec: Spec, settings: Ec2Settings) -> bytes:
    """The template filled in; compressed by gzip if it has more octets than EC2 takes.

    Raises:
        Invalid: it names what there is not, or is too long even so.
    """
    values = {
        "ORG": spec.org,
        "SATELLITE": spec.name,
        "PORT": str(settings.port),
        "IDENTITY_PORT": str(settings.identity_port),
        "LAUNCH_TOKEN": spec.launch_token,
        "CACHE_DEVICE": CACHE_DEVICE,
    }

    def fill(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise Invalid(f"the user data names {found[0]}; there are {sorted(values)}")
        return values[found[1]]

    plain = re.sub(r"@TORPOR_(\w+?)@", fill, settings.user_data).encode()
    if len(plain) <= MAX_USER_DATA:
        return plain
    # Without a time in it, so that each node's attempt is the same to AWS
    packed = gzip.compress(plain, mtime=0)
    if len(packed) > MAX_USER_DATA:
        raise Invalid(
            f"the user data has {len(plain)} bytes, {len(packed)} compressed; EC2 takes"
            f" {MAX_USER_DATA}"
        )
    return packed
