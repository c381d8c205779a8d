"""Where satellites live in AWS, and what they are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from torpor_provisioner import identity
from torpor_provisioner.contract import Arch
from torpor_provisioner.ec2.actions import Action, Limit
from torpor_provisioner.ec2.settling import AFTER_LAUNCH, AFTER_START
from torpor_provisioner.errors import Invalid

ROLE = re.compile(r"arn:aws(?:-[a-z]+)*:iam::(\d{12}):role/[\w+=,.@/-]{1,512}")
REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
DEPLOYMENT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

IMAGE_OWNERS = frozenset({"self", "amazon"})
SIZES = {Arch.X86_64: "m7i.xlarge", Arch.ARM64: "m7g.xlarge"}
# Types that satellites may have: each family costs by its size, and none comes with accelerators.
ALLOWED_SIZES = (
    *("c5*.*", "c6*.*", "c7*.*", "c8*.*"),
    *("m5*.*", "m6*.*", "m7*.*", "m8*.*"),
    *("r5*.*", "r6*.*", "r7*.*", "r8*.*"),
    *("t3*.*", "t4g.*"),
)
# Of each org, where the operator says nothing. A cap is for mistakes: 0 takes it away.
MAX_MACHINES = 20
MAX_VCPUS = 160
PORT = 8372
ROOT_GIB = 16  # the system; an image of memory comes on top
CACHE_GIB = 100
THROUGHPUT = 500  # MiB/s of the root volume: what a resume reads memory with
IOPS = 3000  # gp3's own; it carries 750 MiB/s
# Of a gp3 volume: "General Purpose SSD volumes", Amazon EBS User Guide. In GiB, GiB and MiB/s.
GP3 = {"root_gib": (1, 65536), "cache_gib": (1, 65536), "throughput": (125, 2000)}
PACE = 0.5


class Expiry(StrEnum):
    """What becomes of a machine that has been hibernated for as long as AWS keeps its memory."""

    STOP = "stop"  # for good: until somebody wants it
    RENEW = "renew"  # started again, so that it hibernates anew when it is idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an org's machines live: an account, a Region and its subnets, each in its zone.

    Without a role they live in the router's own account. `max_machines` and `max_vcpus` are
    this org's caps, 0 being none.
    """

    region: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    role_arn: str = ""
    external_id: str = field(default="", repr=False)
    profile: str = ""  # the machines' instance profile, by name
    max_machines: int = 0
    max_vcpus: int = 0

    @property
    def account(self) -> str:
        """The role's account; empty for the router's own."""
        found = ROLE.fullmatch(self.role_arn)
        return found[1] if found else ""

    def check(self, where: str) -> None:
        """Raise Invalid for what AWS could only refuse later."""
        if not REGION.fullmatch(self.region):
            raise Invalid(f"{where}: {self.region!r} is no AWS Region")
        if not self.subnets or not all(s.startswith("subnet-") for s in self.subnets):
            raise Invalid(f"{where}: the subnets {list(self.subnets)} are not all subnet-...")
        if not self.security_groups or not all(s.startswith("sg-") for s in self.security_groups):
            raise Invalid(f"{where}: the security groups must be sg-..., at least one")
        if self.role_arn and not ROLE.fullmatch(self.role_arn):
            raise Invalid(f"{where}: {self.role_arn!r} is no role's ARN")
        if bool(self.role_arn) != bool(self.external_id):
            raise Invalid(f"{where}: a role and its external id are given together or not at all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2Settings:
    """`deployment` is on every machine as a tag; the shipped policy reaches no other machine."""

    deployment: str
    place: Place
    orgs: Mapping[str, Place] = field(default_factory=dict)
    images: Mapping[Arch, str]
    image_owners: frozenset[str] = IMAGE_OWNERS  # whose images satellites may name
    sizes: Mapping[Arch, str] = field(default_factory=lambda: dict(SIZES))
    allowed_sizes: tuple[str, ...] = ALLOWED_SIZES  # of satellites that name one; *, ? for any
    user_data: str = ""  # a template, see torpor_provisioner.ec2.plan
    port: int = PORT
    identity_port: int = identity.PORT  # 0: the machines do not say who they are
    root_gib: int = ROOT_GIB
    cache_gib: int = CACHE_GIB
    throughput: int = THROUGHPUT
    endpoint: str = ""  # another EC2 than AWS's, for tests
    pace: float = PACE  # seconds between two looks at what moves, shared by all
    feed: str = ""  # URL of an SQS queue with EC2's state changes
    # Seconds for which no hibernation is asked for; see torpor_provisioner.ec2.settling.
    hibernate_after_launch: float = AFTER_LAUNCH
    hibernate_after_start: float = AFTER_START
    hibernation_expiry: Expiry = Expiry.STOP
    limits: Mapping[Action, Limit] = field(default_factory=dict)  # of requests, if not AWS's own
    resource_limits: Mapping[Action, Limit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not DEPLOYMENT.fullmatch(self.deployment):
            raise Invalid(f"the deployment {self.deployment!r} must be of a-z, 0-9 and -")
        if not 1 <= self.port <= 65535:
            raise Invalid(f"the port is {self.port}")
        if self.port == identity.PORT:
            raise Invalid(
                f"{self.port} is where machines tell which one they are, not the worker's"
            )
        for name, (least, most) in GP3.items():
            if not least <= getattr(self, name) <= most:
                value = getattr(self, name)
                raise Invalid(f"{name} is {value}; it must be from {least} to {most}")
        if not 0.05 <= self.pace <= 60:
            raise Invalid(f"the pace is {self.pace} s; it must be from 0.05 to 60")
        if not self.images:
            raise Invalid("no image is given for any architecture")
        self.place.check("the default place")
        for org, place in self.orgs.items():
            place.check(f"org {org}")
        _one_role_an_account(self.places)

    @property
    def places(self) -> tuple[Place, ...]:
        return (self.place, *self.orgs.values())

    def allows(self, size: str) -> bool:
        """Whether a satellite may have it: the operator's own choices always."""
        own = size in self.sizes.values()
        return own or any(fnmatchcase(size, one) for one in self.allowed_sizes)

    def place_of(self, org: str) -> Place:
        return self.orgs.get(org, self.place)


def _one_role_an_account(places: tuple[Place, ...]) -> None:
    """A ref names an account; the account says which role reaches the machine."""
    roles: dict[str, tuple[str, str]] = {}
    for place in places:
        role = (place.role_arn, place.external_id)
        if roles.setdefault(place.account, role) != role:
            raise Invalid(f"account {place.account} is given with two roles or external ids")
