"""Refusals in the words of the client that asks: what it can be made to send."""

from __future__ import annotations

from collections.abc import Mapping

from torpor_router.dialects import bazel, buildkit
from torpor_router.errors import NoCredentials, NoSatelliteNamed

# by the beginnings of methods' paths
_NO_SATELLITE: Mapping[tuple[bytes, ...], type[NoSatelliteNamed]] = {
    buildkit.SERVICES: buildkit.NO_SATELLITE,
}
_NO_CREDENTIALS: Mapping[tuple[bytes, ...], type[NoCredentials]] = {
    buildkit.SERVICES: buildkit.NO_CREDENTIALS,
    bazel.SERVICES: bazel.NO_CREDENTIALS,
}


def no_satellite(path: bytes) -> NoSatelliteNamed:
    """What to tell a client whose call of `path` names none."""
    return next(
        (refusal for of, refusal in _NO_SATELLITE.items() if path.startswith(of)), NoSatelliteNamed
    )()


def no_credentials(path: bytes) -> NoCredentials:
    """What to tell a client whose call of `path` shows none."""
    return next(
        (refusal for of, refusal in _NO_CREDENTIALS.items() if path.startswith(of)), NoCredentials
    )()
