"""The disk image, kernel and initrd that machines boot from: Debian's, made once for each recipe.

What is made is kept under the SHA-256 of all that it is made from, and taken from there again.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

HERE = Path(__file__).parent
GUEST = HERE / "guest"
SUITE = "bookworm"
SIZE = "3G"
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


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from. Its kernel is started by QEMU itself, without a boot loader."""

    disk: Path
    kernel: Path
    initrd: Path


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
    folder = CACHE / _checksum()[:16]
    image = Image(folder / "disk", folder / "vmlinuz", folder / "initrd.img")
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _make(folder, image)
        (folder / "done").touch()
    return image


def _checksum() -> str:
    found = hashlib.sha256(f"{SUITE} {SIZE} {PACKAGES}".encode())
    for file in (Path(__file__), *sorted(GUEST.iterdir())):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def _make(folder: Path, image: Image) -> None:
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
    part = folder / "disk.part"
    _run("truncate", "-s", SIZE, str(part))
    _run("mkfs.ext4", "-q", "-F", "-L", "root", "-d", str(root), str(part))
    part.rename(image.disk)
    for used in (root, overlay):
        shutil.rmtree(used)


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
