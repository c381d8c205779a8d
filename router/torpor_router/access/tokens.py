"""Tokens: how they are made, and the only form in which they are kept."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "tpr_"  # for people, and for tools that look for secrets in sources
RANDOM_BYTES = 32


def mint() -> str:
    """A new token: the prefix and 43 characters that stand for 256 random bits."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()
