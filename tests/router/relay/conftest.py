"""A door with an in-memory gate and directory, in front of a real gRPC worker."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = (str(TESTS / "kit"), str(TESTS / "chaos"))

from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here
