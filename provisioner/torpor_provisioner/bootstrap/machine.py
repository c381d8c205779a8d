"""What is asked of a satellite's machine, checked before a line of it is written."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from torpor_provisioner.errors import Invalid

SECRET = re.compile(r"[\w/+=.@:-]{1,512}", re.ASCII)
# Builds' own network: the far end of what RFC 6598 keeps for carriers, which few VPCs are made of.
BRIDGE = "100.127.0.0/16"


class System(StrEnum):
    """The machine's operating system."""

    AL2023 = "al2023"
    UBUNTU = "ubuntu"  # 22.04: AWS lists none newer as able to hibernate


class Worker(StrEnum):
    """The build server on it."""

    BUILDKIT = "buildkit"
    BAZEL_CACHE = "bazel-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A satellite's machine. Percentages are of all its cores, its memory, its cache volume.

    `org`, `satellite`, `port`, `launch_token` and `cache_device` are left for the ec2 provisioner
    to fill in at each launch (see torpor_provisioner.ec2.plan): one text serves every satellite.

    `block_resolver` keeps builds from the VPC's resolver, at 169.254.169.253 and at `resolvers`
    (the second address of the VPC is one of it); they then need `nameservers` of their own.
    `bridge` is the range of the builds' own network on the machine, and `networks` are the ranges
    of its VPC and of what is reached from there: where they overlap, the machine's routers (or its
    registries) could not be reached from it.
    `tls_secret` names the secret with the worker's certificate; without it the worker speaks
    plaintext, inside the security group that admits routers alone.

    Raises:
        Invalid: a value that cannot be meant.
    """

    system: System = System.AL2023
    worker: Worker = Worker.BUILDKIT
    org: str = "@TORPOR_ORG@"
    satellite: str = "@TORPOR_SATELLITE@"
    port: str = "@TORPOR_PORT@"
    launch_token: str = "@TORPOR_LAUNCH_TOKEN@"  # noqa: S105 - a name, see contract.Spec
    cache_device: str = "@TORPOR_CACHE_DEVICE@"
    cpu_percent: int = 95
    memory_percent: int = 85
    cache_percent: int = 80
    block_resolver: bool = False
    resolvers: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    bridge: str = BRIDGE
    networks: tuple[str, ...] = ()
    hibernate: bool = True
    ssh: bool = False
    tls_secret: str = ""

    def __post_init__(self) -> None:
        _within("cpu_percent", self.cpu_percent, 10, 99)
        _within("memory_percent", self.memory_percent, 10, 95)
        # Above it there must be room for the ballast and for what one build adds before collection.
        _within("cache_percent", self.cache_percent, 10, 85)
        for address in (*self.resolvers, *self.nameservers):
            _address(address)
        _clear_of(self.bridge, self.networks)
        if self.resolvers and not self.block_resolver:
            raise Invalid("resolvers are given, but block_resolver is not set")
        if self.block_resolver and self.worker is Worker.BUILDKIT and not self.nameservers:
            raise Invalid("without the VPC's resolver, builds need nameservers")
        if self.tls_secret and not SECRET.fullmatch(self.tls_secret):
            raise Invalid(f"{self.tls_secret!r} is no name of a secret")
        for name in ("org", "satellite", "port", "launch_token", "cache_device"):
            if not re.fullmatch(r"[\w@/.-]+", getattr(self, name), re.ASCII):
                raise Invalid(f"{name} is {getattr(self, name)!r}")


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Invalid(f"{name} is {value}; it must be from {least} to {most}")


def _address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is no IP address") from error


def _clear_of(bridge: str, networks: tuple[str, ...]) -> None:
    own = _network(bridge)
    if own.version != 4 or not 16 <= own.prefixlen <= 28:
        raise Invalid(f"the bridge {bridge} must be an IPv4 range from /16 to /28")
    for network in map(_network, networks):
        if own.overlaps(network):
            raise Invalid(f"the builds' bridge {own} overlaps the network {network}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is no range of IP addresses: {error}") from error
