"""Where a worker listens on a Unix socket: in a folder that only its own account may enter.

    machines/REF/run/worker        its {socket}

A socket's path may be so long and no longer (unix(7)). Where the data folder's own path is too
long for that, `run` is a link to a private folder below /tmp.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from torpor_provisioner.accounts import Ids

LONGEST = 107 if sys.platform == "linux" else 103  # octets of a path, its final zero not counted
SHORT = Path("/tmp")  # noqa: S108 - mkdtemp makes a private folder, and it is checked before use
_PREFIX = "torpor-"
_NAME = "worker"


def make(machine: Path, account: Ids | None = None) -> Path:
    """The path for the socket of a worker that is about to start; nothing is there.

    The folder is the `account`'s, or else this process's own.
    """
    run = machine / "run"
    if len(os.fsencode(run / _NAME)) > LONGEST:
        run = _short(run, account)
    else:
        run.mkdir(mode=0o700, exist_ok=True)
    os.chown(run, *(account or (os.geteuid(), os.getegid())))
    path = run / _NAME
    _clear(path)
    return path


def remove(machine: Path) -> None:
    """Remove what lies outside of the machine's folder."""
    run = machine / "run"
    owner = (machine / "data").stat().st_uid
    if run.is_symlink() and _is_private(target := run.readlink(), owner):
        shutil.rmtree(target, ignore_errors=True)


def _short(link: Path, account: Ids | None) -> Path:
    if link.is_symlink():
        if _is_private(target := link.readlink(), account.uid if account else None):
            return target
        link.unlink()  # something that cleans /tmp was there
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=SHORT))
    link.symlink_to(made)
    return made


def _clear(path: Path) -> None:
    """An earlier worker's, which is dead; it may be anything."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_private(folder: Path, owner: int | None) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    named = folder.parent == SHORT and folder.name.startswith(_PREFIX)
    ours = named and found.st_uid in (os.geteuid(), owner)
    return ours and stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
