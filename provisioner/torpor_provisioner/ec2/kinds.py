"""What AWS says of instance types and images: the facts that a launch is planned with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torpor_provisioner.contract import Arch

GIB = 1024  # MiB
# Linux: RAM must be less than 150 GiB. "Prerequisites for EC2 instance hibernation" in the Amazon
# EC2 User Guide, docs.aws.amazon.com/AWSEC2/latest/UserGuide/hibernating-prerequisites.html.
HIBERNATABLE_MIB = 150 * GIB


@dataclass(frozen=True, slots=True)
class InstanceType:
    name: str
    arches: frozenset[str]
    memory_mib: int
    vcpus: int
    hibernation: bool
    bare_metal: bool

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> InstanceType:
        """From DescribeInstanceTypes."""
        return cls(
            name=described["InstanceType"],
            arches=frozenset(described["ProcessorInfo"]["SupportedArchitectures"]),
            memory_mib=described["MemoryInfo"]["SizeInMiB"],
            vcpus=described["VCpuInfo"]["DefaultVCpus"],
            hibernation=described.get("HibernationSupported", False),
            bare_metal=described.get("BareMetal", False),
        )

    @property
    def can_hibernate(self) -> bool:
        return self.hibernation and not self.bare_metal and self.memory_mib < HIBERNATABLE_MIB

    @property
    def memory_gib(self) -> int:
        """Rounded up: what a hibernation image takes on the root volume."""
        return -(-self.memory_mib // GIB)

    def runs(self, arch: Arch) -> bool:
        return str(arch) in self.arches


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    arch: str
    root_device: str
    root_gib: int
    root_snapshot: str
    owners: frozenset[str] = frozenset()  # the account's id, and AWS's alias for it if it has one

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Image:
        """From DescribeImages."""
        root = described["RootDeviceName"]
        disks = {
            m["DeviceName"]: m.get("Ebs", {}) for m in described.get("BlockDeviceMappings", ())
        }
        return cls(
            id=described["ImageId"],
            arch=described.get("Architecture", Arch.X86_64),
            root_device=root,
            root_gib=disks.get(root, {}).get("VolumeSize", 0),
            root_snapshot=disks.get(root, {}).get("SnapshotId", ""),
            owners=frozenset(filter(None, map(described.get, ("OwnerId", "ImageOwnerAlias")))),
        )
