"""An account to launch in: a VPC on loopback addresses, a role, images; and how to say so."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_sts import STSClient

REGION = "eu-west-1"
KEYS = {"aws_access_key_id": "AKIAFAITHFUL", "aws_secret_access_key": "not-a-secret"}
IMAGES = {"x86_64": "al2023-ami-2023*-x86_64", "arm64": "al2023-ami-2023*-arm64"}


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands ready in one account and Region."""

    endpoint: str
    region: str
    subnets: tuple[str, ...]
    security_group: str
    images: dict[str, str]

    def environ(self, deployment: str, **more: str) -> dict[str, str]:
        """The variables for `registry.create("ec2", ...)`, and the SDK's keys beside them."""
        own = {
            "DEPLOYMENT": deployment,
            "ENDPOINT": self.endpoint,
            "REGION": self.region,
            "SUBNETS": ",".join(self.subnets),
            "SECURITY_GROUPS": self.security_group,
            # What it plays has no agent to wait for, and its time may be fast.
            "HIBERNATE_AFTER_LAUNCH": "0",
            "HIBERNATE_AFTER_START": "0",
            # What it plays costs nothing.
            "MAX_MACHINES": "0",
            "MAX_VCPUS": "0",
            **{f"IMAGE_{arch.upper()}": image for arch, image in self.images.items()},
            **more,
        }
        return {f"TORPOR_EC2_{k}": v for k, v in own.items()} | {
            k.upper(): v for k, v in KEYS.items()
        }


def client(endpoint: str, region: str = REGION, account: str = "") -> EC2Client:
    """A plain client, as any user of AWS has; without an account, of the account of KEYS."""
    made: EC2Client = boto3.client(
        "ec2",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=_entered(endpoint, region, account) or KEYS["aws_access_key_id"],
        aws_secret_access_key=KEYS["aws_secret_access_key"],
    )
    return made


def _entered(endpoint: str, region: str, account: str) -> str:
    """The key of somebody in that account, who has come there by a role of his own."""
    if not account:
        return ""
    sts: STSClient = boto3.client(
        "sts",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=KEYS["aws_access_key_id"],
        aws_secret_access_key=KEYS["aws_secret_access_key"],
    )
    role = f"arn:aws:iam::{account}:role/administrator"
    given = sts.assume_role(RoleArn=role, RoleSessionName="stage")["Credentials"]
    return str(given["AccessKeyId"])


def set_up(endpoint: str, region: str = REGION, account: str = "") -> Stage:
    """Make a VPC with a subnet in two zones, a security group, and find Linux images.

    The VPC's addresses are loopback ones, of a range of its own as far as chance goes: workers
    of several such servers on one machine do not meet.
    """
    ec2 = client(endpoint, region, account)
    second = random.randrange(64, 255)  # noqa: S311 - no secret
    vpc = ec2.create_vpc(CidrBlock=f"127.{second}.0.0/16")["Vpc"]["VpcId"]
    half = random.randrange(0, 256, 16)  # noqa: S311 - no secret
    subnets = tuple(
        ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"127.{second}.{half + 8 * number}.0/21",
            AvailabilityZone=f"{region}{zone}",
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    )
    group = ec2.create_security_group(VpcId=vpc, GroupName="satellites", Description="workers")
    return Stage(endpoint, region, subnets, group["GroupId"], _images(ec2))


def _images(ec2: EC2Client) -> dict[str, str]:
    found: dict[str, str] = {}
    for arch, name in IMAGES.items():
        filters: Any = [{"Name": "name", "Values": [name]}]
        images = ec2.describe_images(Filters=filters)["Images"]
        found[arch] = min(image["ImageId"] for image in images)
    return found
