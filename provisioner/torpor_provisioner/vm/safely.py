"""What must outlive a power failure is put on the disk before it is believed."""

from __future__ import annotations

import os
from pathlib import Path


def sync(file: Path) -> None:
    opened = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_folder(folder: Path) -> None:
    """What was renamed or unlinked in it stays so after a power failure."""
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
