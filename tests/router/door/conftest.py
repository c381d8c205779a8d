"""A door with an in-memory gate and directory, in front of a real gRPC worker."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "kit"))

from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here
