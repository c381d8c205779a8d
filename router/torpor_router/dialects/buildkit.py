"""BuildKit's control API, ``moby.buildkit.v1.Control``: buildctl, docker buildx, EarthBuild."""

from __future__ import annotations

from torpor_router.dialects.purpose import Purpose
from torpor_router.errors import NoCertificate, NoSatelliteInName

SERVICES = (b"/moby.",)
NO_SATELLITE, NO_CREDENTIALS = NoSatelliteInName, NoCertificate  # it sends no metadata of a user's

_CONTROL = b"/moby.buildkit.v1.Control/"
STATUS = _CONTROL + b"Status"
SOLVE = _CONTROL + b"Solve"
SERVING = (STATUS, _CONTROL + b"Session")

PURPOSES = {
    _CONTROL + b"ListWorkers": Purpose.LOOKS,
    _CONTROL + b"Info": Purpose.LOOKS,
    STATUS: Purpose.PROGRESS,
}

# In the metadata of a build's LLBBridge calls; its Solve, Status and Session carry none
BUILD_ID = b"buildkit-controlapi-buildid"


def build(value: bytes) -> str | None:
    """The build that `BUILD_ID` names."""
    return value.decode("ascii", "replace") or None
