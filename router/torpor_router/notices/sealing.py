"""How a webhook's address and secret are kept: encrypted, for they must be used again.

The keys are the operator's and never enter the database: a file of mode 0600 with one Fernet key a
line, of which the first one seals and each one opens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from torpor_router.notices.errors import BadWebhookKey


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook's notices go, and the secret that they are signed with. `old_secret` signs
    beside it until `old_until`, in seconds since 1970."""

    url: str
    secret: str
    old_secret: str = ""
    old_until: float = 0.0

    def __repr__(self) -> str:
        return "<Target>"  # it is for nobody's log

    def secrets(self, now: float) -> Sequence[str]:
        return [self.secret, *([self.old_secret] if now < self.old_until else [])]


class Seal:
    def __init__(self, keys: Sequence[bytes]) -> None:
        """
        Raises:
            BadWebhookKey: there is none, or it is none.
        """
        from cryptography.fernet import Fernet, MultiFernet  # few routers need it

        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise BadWebhookKey(str(error)) from None

    @classmethod
    def read(cls, file: Path) -> Seal:
        """
        Raises:
            BadWebhookKey: the file cannot be read, or has no key.
        """
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            raise BadWebhookKey(f"{file}: {error.strerror}") from None
        return cls([line.strip() for line in lines if line.strip()])

    def seal(self, webhook_id: UUID, target: Target) -> bytes:
        """It opens for this webhook alone, wherever in the database it is copied to."""
        text = json.dumps({"id": str(webhook_id), **asdict(target)})
        return self._fernet.encrypt(text.encode())

    def open(self, webhook_id: UUID, sealed: bytes) -> Target:
        """
        Raises:
            BadWebhookKey: it was sealed with another key, or for another webhook.
        """
        from cryptography.fernet import InvalidToken

        try:
            fields = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise BadWebhookKey("none of the keys opens what is kept of the webhook") from None
        if fields.pop("id") != str(webhook_id):
            raise BadWebhookKey("what is kept of the webhook was made for another")
        return Target(**fields)


def keep_new_key(file: Path) -> None:
    """Make a key and write it down, for the owner of the process alone.

    Raises:
        BadWebhookKey: nothing was written.
    """
    from cryptography.fernet import Fernet

    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise BadWebhookKey(f"{file}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as written:
        written.write(Fernet.generate_key() + b"\n")
