"""The token that a call carries."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torpor_router.errors import NoCredentials
from torpor_router.names import LONGEST_TOKEN

_KEYS = ("satellite_token", "authorization")


def token_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """As at the door: `satellite_token` before `authorization`.

    Raises:
        NoCredentials: there is none, or it cannot be told which counts.
    """
    found: dict[str, str] = {}
    for key, value in metadata:
        if key in _KEYS:
            if key in found:
                raise NoCredentials(f"'{key}' stands there twice")
            found[key] = str(value)
    token = found.get("satellite_token")
    if token is None:
        bearer = re.fullmatch(r"(?i:bearer) +(\S+) *", found.get("authorization", ""))
        token = bearer[1] if bearer else ""
    if not token or len(token) > LONGEST_TOKEN:
        raise NoCredentials
    return token
