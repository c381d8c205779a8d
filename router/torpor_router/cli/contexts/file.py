"""The file of contexts: ``torpor/contexts.json`` in the user's folder for settings, mode 0600.

It is whole at any time: a change is written beside it and renamed. Changes take turns by a lock on
a file beside it, so that two processes lose nothing of each other's.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torpor_router.cli.contexts.book import Contexts, parsed, written
from torpor_router.cli.contexts.errors import (
    ContextsNotWritten,
    ContextsUnreadable,
    ContextsUnsafe,
    NoHome,
)

LARGEST = 1 << 20  # octets
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def place() -> Path:
    """
    Raises:
        NoHome: the user has no folder for settings.
    """
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not configured.is_absolute():  # XDG: a relative one is to be ignored
        try:
            configured = Path.home() / ".config"
        except RuntimeError as error:
            raise NoHome from error
        if not configured.is_absolute():
            raise NoHome("HOME is not an absolute path")
    return configured / "torpor" / "contexts.json"


def read() -> Contexts:
    """The user's contexts; none where there is no file.

    Raises:
        NoHome, ContextsUnreadable, ContextsUnsafe
    """
    path = place()
    try:
        # Not blocking: it may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return Contexts()
    except OSError as error:
        raise ContextsUnreadable(f"{path}: {error.strerror}") from error
    try:
        _check(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST:
        raise ContextsUnreadable(f"{path}: it is larger than {LARGEST} octets")
    try:
        return parsed(content.decode())
    except ValueError as error:
        what = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise ContextsUnreadable(f"{path}: {what}") from error


@contextmanager
def changing() -> Iterator[Contexts]:
    """The user's contexts, to be changed in the block; written at its end, unless it raises.

    Raises:
        NoHome, ContextsUnreadable, ContextsUnsafe, ContextsNotWritten
    """
    path = place()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ContextsNotWritten(f"{path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        contexts = read()
        yield contexts
        _write(path.resolve(), written(contexts))  # what a link leads to stays where it is
    finally:
        os.close(lock)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ContextsUnreadable(f"{path}: it is not a file")
    if found.st_uid != os.geteuid():
        raise ContextsUnsafe(f"{path} belongs to another account (uid {found.st_uid})")
    if found.st_mode & _OTHERS:
        raise ContextsUnsafe(f"{path} has the mode {stat.S_IMODE(found.st_mode):o}")


def _write(path: Path, text: str) -> None:
    new = None
    try:
        descriptor, new = tempfile.mkstemp(prefix=".contexts-", dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(descriptor)
        Path(new).replace(path)
    except OSError as error:
        if new is not None:
            with suppress(OSError):
                Path(new).unlink()
        raise ContextsNotWritten(f"{path}: {error.strerror}") from error
