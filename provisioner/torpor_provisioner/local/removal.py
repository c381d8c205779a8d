"""Removes a machine's folder, whatever its builds have left in it.

What a worker mounted below its folder may outlive it (an overlay of buildkitd's). The mount holds
the folder, and behind a bind mount lie somebody else's files: it is taken away first, never
emptied.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torpor_provisioner.local.errors import FolderHeld

MOUNTS = Path("/proc/self/mountinfo")
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8  # umount2(2)
_ROOT = 0


def remove(folder: Path) -> None:
    """Remove `folder` and all below it; nothing happens if it is gone.

    Raises:
        FolderHeld: with what holds it, and how to end that.
    """
    for mount in mounts_below(folder):
        _detach(mount)
    shutil.rmtree(folder, onerror=_once_more)


def mounts_below(folder: Path) -> list[Path]:
    """Where file systems are mounted in `folder`, the latest first (proc_pid_mountinfo(5))."""
    if sys.platform != "linux":
        return []
    inside = f"{folder.resolve()}/"
    table = MOUNTS.read_text(errors="surrogateescape")
    points = (_unescaped(line.split(" ")[4]) for line in table.split("\n") if line)
    return [Path(point) for point in points if f"{point}/".startswith(inside)][::-1]


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


def _detach(mount: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mount), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
        why = os.strerror(ctypes.get_errno())
        raise FolderHeld(
            f"a mount was left in it ({why}); run as root: umount --lazy {str(mount)!r}"
        )


def _once_more(retry: Callable[..., Any], path: str, failed: Any) -> None:
    """Build caches hold folders without write permission; they go all the same."""
    error = failed[1]
    if isinstance(error, FileNotFoundError):  # another node removes it too
        return
    try:
        if os.geteuid() == _ROOT:  # to whom permissions are no obstacle
            raise error
        Path(path).parent.chmod(0o700)
        if not Path(path).is_symlink():
            Path(path).chmod(0o700)
        retry(path)
    except FileNotFoundError:
        return
    except OSError as last:
        raise FolderHeld(f"{path!r}: {last.strerror}") from last
