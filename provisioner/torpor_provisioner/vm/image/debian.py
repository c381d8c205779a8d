"""Debian's packages: fetched with this machine's own apt, unpacked, not installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from torpor_provisioner.accounts import is_root
from torpor_provisioner.vm.errors import ImageNotMade

_LISTS_WITHIN = 300.0  # seconds
_FETCHED_WITHIN = 600.0


def unpacked(package: str, into: Path) -> Path:
    """Fetch `package`, of the version that apt would install, and unpack it in a folder there.

    Raises:
        ImageNotMade: this machine has no apt, or apt has no such package.
    """
    folder = into / package
    folder.mkdir(parents=True)
    _run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package, at=folder)
    for archive in folder.glob("*.deb"):
        _run("dpkg-deb", "-x", str(archive), str(folder), at=folder)
        archive.unlink()
    return folder


def newest(meta: str) -> str:
    """What the package `meta` is there to depend on, such as the newest kernel.

    Raises:
        ImageNotMade: this machine has no apt, or apt has no such package.
    """
    if not (found := _dependency(meta)) and is_root():
        _run("apt-get", "update", "-qq", within=_LISTS_WITHIN)
        found = _dependency(meta)
    if not found:
        raise ImageNotMade(f"apt knows no package {meta}; see whether apt-get update helps")
    return found


def _dependency(meta: str) -> str:
    shown = _run("apt-cache", "show", "--no-all-versions", meta, check=False)
    found = re.search(r"^Depends: ([\w.+-]+)", shown, re.MULTILINE)
    return found[1] if found else ""


def _run(
    *words: str, at: Path | None = None, check: bool = True, within: float = _FETCHED_WITHIN
) -> str:
    if shutil.which(words[0]) is None:
        raise ImageNotMade(
            f"{words[0]} is not on this machine; the image is made of Debian's packages"
        )
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours
            words, cwd=at, capture_output=True, text=True, timeout=within, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImageNotMade(f"{words[0]} has not ended within {within:g} s") from error
    if check and done.returncode != 0:
        raise ImageNotMade(f"{' '.join(words[:2])}: {done.stderr.strip()[-500:]}")
    return done.stdout
