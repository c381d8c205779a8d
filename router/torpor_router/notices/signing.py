"""How a receiver knows that a notice is from us, is whole, and is not an old one sent again.

The form is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over
``ID.TIMESTAMP.BODY``, in base64 behind ``v1,``; a second one while an older secret still counts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"  # for people, and for tools that look for secrets
_OCTETS = 32


def mint() -> str:
    """A new secret: the prefix and 256 random bits in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_OCTETS)).decode()


def headers(notice_id: str, timestamp: int, body: bytes, of: Sequence[str]) -> dict[str, str]:
    """The header fields of a delivery, signed with each of the secrets; `timestamp` is in seconds
    since 1970. The id is the same however often a notice is delivered."""
    return {
        "webhook-id": notice_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(notice_id, timestamp, body, one) for one in of),
    }


def _signature(notice_id: str, timestamp: int, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = hmac.new(key, f"{notice_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"
