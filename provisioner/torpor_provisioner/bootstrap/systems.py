"""What the two systems call the same things."""

from __future__ import annotations

from dataclasses import dataclass

from torpor_provisioner.bootstrap.machine import System


@dataclass(frozen=True, slots=True)
class Names:
    packages: tuple[str, ...]
    builds: tuple[str, ...]  # iptables: BuildKit's bridge masquerades; git, ssh: its git sources
    ssh: tuple[str, ...]  # units that let somebody in
    chrony: str  # the unit
    chrony_folder: str  # where its configuration may be added to
    grub: bool  # boots with Debian's grub, and needs the address of its kernel to stay put


# python3 and lsblk, blkid, curl, sha256sum are on both, cloud-init's own dependencies among them.
NAMES = {
    System.AL2023: Names(
        packages=("chrony", "nftables", "xfsprogs"),
        builds=("iptables-nft", "git", "openssh-clients"),
        ssh=("sshd.service",),
        chrony="chronyd",
        chrony_folder="/etc/chrony.d",
        grub=False,
    ),
    System.UBUNTU: Names(
        packages=("chrony", "nftables", "xfsprogs"),
        builds=("iptables", "git", "openssh-client"),
        ssh=("ssh.service", "ssh.socket"),
        chrony="chrony",
        chrony_folder="/etc/chrony/conf.d",
        grub=True,
    ),
}
HIBERNATION_AGENT = "ec2-hibinit-agent"
