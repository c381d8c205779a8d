"""Root's satellites each run as an account of their own: a number that nobody else has.

Which one, their data folder says: it belongs to it. Without accounts (no root, or the operator has
chosen so) workers run as the router's own.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

import torpor_provisioner
from torpor_provisioner.accounts import Ids, is_free, is_mapped
from torpor_provisioner.errors import Capacity
from torpor_provisioner.local.errors import NoAccount

OPEN = 0o711  # entered by who knows a name in it, and not listed


def give(machine: Path, numbers: range, machines: Path) -> None:
    """Hand the machine's data to a number of its own, if they are the router's still.

    Raises:
        Capacity: every number is taken.
    """
    data = machine / "data"
    if data.stat().st_uid != os.geteuid():
        return
    taken = {each.stat().st_uid for each in machines.glob("*/data")}
    free = [number for number in numbers if number not in taken]
    random.shuffle(free)  # other data folders of this machine choose from the same range
    number = next(filter(is_free, free), None)
    if number is None:
        raise Capacity(f"no account of {numbers.start}-{numbers.stop - 1} is free")
    _hand_over(data, number)
    os.chown(machine, os.geteuid(), number)
    machine.chmod(0o710)


def owner(machine: Path) -> Ids:
    """Whom its worker runs as."""
    number = (machine / "data").stat().st_uid
    return Ids(number, number)


def check(numbers: range, data_dir: Path, programs: Iterable[str]) -> None:
    """Raise NoAccount if such accounts cannot be had, or cannot run workers here."""
    if not (is_mapped(numbers.start) and is_mapped(numbers.stop - 1)):
        raise NoAccount(f"this container has no accounts {numbers.start} to {numbers.stop - 1}")
    someone = Ids(numbers.start, numbers.start)
    existing = next(each for each in (data_dir, *data_dir.parents) if each.exists())
    if not someone.may_enter(existing):
        raise NoAccount(f"they may not enter {existing}")
    for program in programs:
        if not _runs(someone, program):
            raise NoAccount(f"they may not run {program}")


def _runs(someone: Ids, program: str) -> bool:
    found = shutil.which(program)
    if found is None:
        return True  # told of when a satellite asks for it
    path = Path(found)
    if not (someone.may_enter(path.parent) and someone.may_run(path.resolve())):
        return False
    ours = Path(torpor_provisioner.__file__).parent
    return Path(program).name[:6] != "python" or someone.may_enter(ours)


def _hand_over(data: Path, number: int) -> None:
    """What has other names elsewhere stays as it is: it may be a file that is not the worker's."""
    for path in (data, *data.rglob("*")):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            os.chown(path, number, number, follow_symlinks=False)
    data.chmod(0o700)
