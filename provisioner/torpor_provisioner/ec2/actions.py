"""Every call this package makes to AWS, once: the limits and the shipped policy come from here."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Action(StrEnum):
    RUN_INSTANCES = "RunInstances"
    START_INSTANCES = "StartInstances"
    STOP_INSTANCES = "StopInstances"
    TERMINATE_INSTANCES = "TerminateInstances"
    DESCRIBE_INSTANCES = "DescribeInstances"
    DESCRIBE_INSTANCE_TYPES = "DescribeInstanceTypes"
    DESCRIBE_IMAGES = "DescribeImages"
    DESCRIBE_VOLUMES = "DescribeVolumes"
    MODIFY_INSTANCE_ATTRIBUTE = "ModifyInstanceAttribute"
    MODIFY_VOLUME = "ModifyVolume"
    CREATE_VOLUME = "CreateVolume"
    ATTACH_VOLUME = "AttachVolume"
    DETACH_VOLUME = "DetachVolume"
    DELETE_VOLUME = "DeleteVolume"
    CREATE_TAGS = "CreateTags"

    @property
    def reads(self) -> bool:
        """Whether it changes nothing, so that a lost answer costs only a repetition."""
        return self.startswith("Describe")


class Limit(NamedTuple):
    """A token bucket: how many at once, and how many a second after that."""

    capacity: float
    rate: float


# AWS's published defaults: "Request throttling for the Amazon EC2 API" in the Amazon EC2 Developer
# Guide, docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html, its tables "Request token
# bucket sizes and refill rates" and "Resource token bucket sizes and refill rates".
READS = Limit(100, 20)
READS_BY_ID = Limit(50, 10)
CHANGES = Limit(50, 5)

# Requests, per account, Region and action. DescribeInstances is asked by id as well as by filter;
# the smaller bucket of the two, "unfiltered and unpaginated", is assumed for both.
REQUESTS: dict[Action, Limit] = {
    Action.RUN_INSTANCES: Limit(5, 2),
    Action.START_INSTANCES: Limit(5, 2),
    Action.STOP_INSTANCES: CHANGES,
    Action.TERMINATE_INSTANCES: Limit(100, 5),
    Action.DESCRIBE_INSTANCES: READS_BY_ID,
    Action.DESCRIBE_INSTANCE_TYPES: READS,
    Action.DESCRIBE_IMAGES: READS,
    Action.DESCRIBE_VOLUMES: READS_BY_ID,
    Action.MODIFY_INSTANCE_ATTRIBUTE: CHANGES,
    Action.MODIFY_VOLUME: CHANGES,
    Action.CREATE_VOLUME: Limit(100, 5),
    Action.ATTACH_VOLUME: CHANGES,
    Action.DETACH_VOLUME: CHANGES,
    Action.DELETE_VOLUME: Limit(100, 5),
    Action.CREATE_TAGS: Limit(100, 10),
}

# Instances named in those requests, on top.
RESOURCES: dict[Action, Limit] = {
    Action.RUN_INSTANCES: Limit(1000, 2),
    Action.START_INSTANCES: Limit(1000, 2),
    Action.STOP_INSTANCES: Limit(1000, 20),
    Action.TERMINATE_INSTANCES: Limit(1000, 20),
}
