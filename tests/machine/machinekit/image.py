"""The disk image, kernel and initrd that machines boot from: Debian's, made once for each recipe.

What is made is kept as the provisioner `vm` keeps its images, in folders named by
the SHA-256 of all that they are made from (see torpor_provisioner.vm.image).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

from torpor_provisioner.vm.image import ext4
from torpor_provisioner.vm.image.folder import Image, made_once
from torpor_provisioner.vm.image.workers import checksum

HERE = Path(__file__).parent
GUEST = HERE / "guest"
SUITE = "bookworm"
SIZE = "3G"
MEMORY = 2048  # MiB
APPEND = "root=/dev/vda ro console=ttyS0 resume=/dev/vdb nokaslr net.ifnames=0"
PACKAGES = (
    # what an image of EC2 has
    *("systemd-sysv", "dbus", "udev", "kmod", "linux-image-cloud-amd64", "initramfs-tools"),
    *("cloud-init", "python3", "ca-certificates", "curl", "iproute2", "openssh-server", "procps"),
    *("e2fsprogs", "grub2-common", "sudo"),
    # what a satellite's user data asks for: there is no network to install it over
    *("chrony", "nftables", "xfsprogs", "iptables", "git", "openssh-client"),
    # what BuildKit brings along
    *("runc", "containernetworking-plugins"),
    # what the checks come in by
    "qemu-guest-agent",
)
WORKER = "usr/local/lib/torpor/buildkit.tar.gz"


def worker() -> bytes:
    """The archive that stands in for BuildKit's release; the same octets every time."""
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name in ("buildkitd", "buildctl", "buildkit-runc"):
            text = (GUEST / name).read_bytes()
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, BytesIO(text))
    return gzip.compress(written.getvalue(), mtime=0)


CACHE = Path(os.environ.get("TORPOR_MACHINE_CACHE", "/var/cache/torpor-machine"))


def made() -> Image:
    """The image, from the cache if it is there; else it takes some minutes, and Debian's mirror."""
    return made_once(CACHE, f"{SUITE}-{_checksum()[:16]}", _make)


def _checksum() -> str:
    found = hashlib.sha256(f"{SUITE} {SIZE} {PACKAGES}".encode())
    found.update(checksum(iter((Path(__file__), *sorted(GUEST.iterdir())))))
    return found.hexdigest()


def _make(folder: Path) -> Image:
    image = Image(folder, APPEND, MEMORY)
    root = folder / "root"
    # In the root before its packages are, so that the initrd is made with what resumes.
    overlay = folder / "overlay"
    _lay(overlay)
    _run(
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        "--aptopt=Acquire::Languages none",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--essential-hook=cp -r {overlay}/. $1/",
        "--customize-hook=chroot $1 /bin/sh -eu /usr/local/sbin/finish-image",
        SUITE,
        str(root),
    )
    for name, target in (("vmlinuz", image.kernel), ("initrd.img", image.initrd)):
        shutil.copy(root / name, target)
    ext4.make(image.disk, SIZE, root, label="root")
    for used in (root, overlay):
        shutil.rmtree(used)
    return image


def _lay(overlay: Path) -> None:
    """What is in the image besides packages."""
    places = {
        "hibinit-agent.service": ("etc/systemd/system", 0o644),
        "hibernate": ("usr/local/sbin", 0o755),
        "finish-image": ("usr/local/sbin", 0o755),
        "eth.network": ("etc/systemd/network", 0o644),
        "datasource.cfg": ("etc/cloud/cloud.cfg.d", 0o644),
        "container": ("usr/local/sbin", 0o755),
        "agent.service": ("etc/systemd/system", 0o644),
    }
    for name, (where, mode) in places.items():
        at = overlay / where / name
        at.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GUEST / name, at)
        at.chmod(mode)
    at = overlay / WORKER
    at.parent.mkdir(parents=True)
    at.write_bytes(worker())


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    sys.stderr.write(f"{made().disk}\n")
