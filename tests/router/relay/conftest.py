"""A door with an in-memory gate and directory, in front of a real gRPC worker."""

from __future__ import annotations

import pytest
from doorkit import early
from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here


@pytest.fixture
def build():
    made = early.Build()
    made.wait(3)
    return made
