"""Where a CA is kept: values alone, for a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Places(NamedTuple):
    """The CA's certificate, PEM, perhaps among others, and its key (see `keys`)."""

    certificates: Path
    key: str
