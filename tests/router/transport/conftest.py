"""A door with an in-memory gate and directory, in front of a real gRPC worker."""

from __future__ import annotations

from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here
