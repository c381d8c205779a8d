"""Whether a hibernation can come about yet, of a machine that runs. Pure.

AWS accepts one that cannot, and then shuts the machine down: its memory is lost.

* A new machine's agent must first lay the swap that its memory goes to, and on Amazon Linux build
  the boot image anew; AWS itself refuses for two minutes ("Prerequisites for EC2 instance
  hibernation", Amazon EC2 User Guide), which is before that is done.
* Amazon's agent (ec2-hibinit-agent 1.0.10, sleep.sh) ignores the wish for 30 s after a resume.

A router whose clock is behind AWS's by more than such a time cannot tell: it would take every
machine for a new one until its clock has caught up, so it takes none for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

AFTER_LAUNCH = 300.0  # seconds
AFTER_START = 60.0  # twice what the agent takes


def is_new(instance: Mapping[str, Any], now: datetime, after_launch: float) -> bool:
    """Whether its set-up may still be going on: of its launch, or of a root that is newer."""
    return _within(after_launch, _system_since(instance), now)


def just_started(instance: Mapping[str, Any], now: datetime, after_start: float) -> bool:
    """Whether its agent may still ignore the wish. AWS's LaunchTime is that of the last start."""
    return _within(after_start, instance["LaunchTime"], now)


def _within(seconds: float, since: datetime, now: datetime) -> bool:
    return -seconds < (now - since).total_seconds() < seconds


def _system_since(instance: Mapping[str, Any]) -> datetime:
    """The first network interface is made with the machine and stays with it; an update attaches
    another root."""
    root = instance.get("RootDeviceName")
    interfaces = [one.get("Attachment", {}) for one in instance.get("NetworkInterfaces", ())]
    disks = instance.get("BlockDeviceMappings", ())
    roots = [one.get("Ebs", {}) for one in disks if one["DeviceName"] == root]
    started: datetime = instance["LaunchTime"]
    return max((*_first(interfaces), *_first(roots)), default=started)


def _first(attachments: Iterable[Mapping[str, Any]]) -> list[datetime]:
    """When the first was attached; none where AWS does not tell."""
    return sorted(one["AttachTime"] for one in attachments if "AttachTime" in one)[:1]
