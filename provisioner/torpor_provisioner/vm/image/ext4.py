"""File systems as files, for images."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from torpor_provisioner.vm.errors import ImageNotMade

PROGRAM = "mkfs.ext4"
# Debian keeps it out of the PATH of ordinary users.
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def check() -> None:
    """
    Raises:
        ImageNotMade: it is not here.
    """
    if shutil.which(PROGRAM, path=PATH) is None:
        raise ImageNotMade(f"{PROGRAM} is not on this machine")


def make(at: Path, size: str, root: Path | None = None, label: str = "") -> None:
    """A sparse file with ext4 in it, and in that what is below `root`; owned by root.

    Raises:
        ImageNotMade: with the program's words.
    """
    words = [PROGRAM, "-q", "-F", "-J", "size=8", "-E", "root_owner=0:0,lazy_itable_init=1"]
    words += ["-L", label] if label else []
    words += ["-d", str(root)] if root is not None else []
    done = subprocess.run(  # noqa: S603 - the words are ours
        [*words, str(at), size], capture_output=True, text=True, check=False, env={"PATH": PATH}
    )
    if done.returncode != 0:
        raise ImageNotMade(f"{PROGRAM}: {done.stderr.strip()[-500:]}")
