"""Client certificates that are refused although their CA stands, in Postgres.

A certificate is named by its serial number or by the SHA-256 of its DER form, in hex. Other CAs
that the door believes may have given the same serial number; the SHA-256 is exact.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import asyncpg

from torpor_router.access.errors import AlreadyRevoked, NotRevoked, UnusableCertificate
from torpor_statemachine.postgres.pool import Database, Record

LONGEST_REASON = 200  # characters, as in migrations/
_HEX = re.compile(r"[0-9a-fA-F]+|[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{2})+")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_LONGEST_SERIAL = 2**159 - 1  # 20 octets and a sign, RFC 5280 section 4.1.2.2
_FINGERPRINT_DIGITS = 64
_NEW = """
insert into refused_certificates (id, reason) values ($1, $2)
returning id, reason, refused_at as revoked_at
"""
_ALL = """
select id, reason, refused_at as revoked_at from refused_certificates order by refused_at desc, id
"""
_END = """
delete from refused_certificates where id = $1 returning id, reason, refused_at as revoked_at
"""


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """`id` is hex; `kind` says of what: "serial" or "sha256"."""

    id: str
    kind: str
    reason: str
    revoked_at: datetime


class Revocations:
    """Revokes certificates, lists those, and takes a revocation back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revoke(self, id_: str, reason: str = "") -> RevokedCertificate:
        """Within 2 seconds no node opens a stream for it, and its open connections end.

        Raises:
            UnusableCertificate, AlreadyRevoked: it cannot be revoked.
        """
        if len(reason) > LONGEST_REASON or not reason.isprintable():
            raise UnusableCertificate(f"a reason has {LONGEST_REASON} printable characters at most")
        try:
            row = await self._database.fetchrow(_NEW, id_, reason)
        except asyncpg.UniqueViolationError:
            raise AlreadyRevoked(id_) from None
        assert row is not None
        return _revoked(row)

    async def all(self) -> list[RevokedCertificate]:
        """Those that are revoked now, the latest first."""
        return [_revoked(row) for row in await self._database.fetch(_ALL)]

    async def restore(self, id_: str) -> RevokedCertificate:
        """Let it in again.

        Raises:
            NotRevoked: it is not revoked, or not under this name.
        """
        row = await self._database.fetchrow(_END, id_)
        if row is None:
            raise NotRevoked(id_)
        return _revoked(row)


def certificate_id(text: str) -> str:
    """A serial number or SHA-256 as tools print it (hex, with colons or not), in the form kept.

    Raises:
        UnusableCertificate: it is neither.
    """
    digits = text.replace(":", "").lower()
    if _HEX.fullmatch(text):
        if len(digits) == _FINGERPRINT_DIGITS:
            return digits
        if int(digits, 16) <= _LONGEST_SERIAL:
            return f"{int(digits, 16):x}"
    raise UnusableCertificate(f"{text[:80]!r} is no serial number and no SHA-256, in hex")


def id_of_file(path: Path) -> str:
    """The SHA-256 of the first certificate in a PEM file.

    Raises:
        UnusableCertificate: it cannot be read, or there is none in it.
    """
    try:
        found = _PEM.search(path.read_text(encoding="ascii", errors="replace"))
        if found is None:
            raise UnusableCertificate(f"{path}: no certificate in it")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found[0])  # it is one
        return sha256(ssl.PEM_cert_to_DER_cert(found[0])).hexdigest()
    except OSError as error:  # ssl.SSLError is one
        raise UnusableCertificate(f"{path}: {error}") from error


def looks_like_id(text: str) -> bool:
    """Whether it is read as a number rather than as a file's name."""
    return _HEX.fullmatch(text) is not None


def _revoked(row: Record) -> RevokedCertificate:
    kind = "sha256" if len(row["id"]) == _FINGERPRINT_DIGITS else "serial"
    return RevokedCertificate(**row, kind=kind)
