"""Tokens: how they are made, and the only form in which they are kept."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "tpr_"  # for people, and for tools that look for secrets in sources
RANDOM_BYTES = 32


def mint() -> str:
    """A new token: the prefix and 43 characters that stand for 256 random bits."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def looks_like_assertion(token: str) -> bool:
    """Whether a token may be an identity provider's: three parts, the first a JSON object's."""
    return token.startswith("eyJ") and token.count(".") == 2


def digest(token: str | bytes) -> bytes:
    """What is kept of a token: its SHA-256. Slower hashes are for what people choose themselves."""
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).digest()
