"""Issues client certificates for callers of the control service, by the CA of this deployment.

What can sign is imported with the first certificate: most nodes never issue one.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from torpor_router.access.ca.errors import NoAuthority
from torpor_router.access.ca.places import Places
from torpor_router.access.issued import IssuedCertificates
from torpor_router.access.roles import Role
from torpor_statemachine.postgres.pool import Database

if TYPE_CHECKING:
    from torpor_router.access.ca.authority import ClientAuthority, Signed

LIVES = timedelta(days=1)  # unless the client asks for another time


class Holder(Protocol):
    """Who asks, by a token."""

    @property
    def org(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def token_id(self) -> UUID | None: ...


class Issuing:
    """Without `places` it issues nothing."""

    def __init__(self, database: Database, places: Places | None) -> None:
        self._issued = IssuedCertificates(database)
        self.places = places

    async def check(self) -> None:
        """
        Raises:
            UnusableAuthority: nothing could be issued.
        """
        if self.places is not None:
            await asyncio.to_thread(_authority, self.places)

    async def for_token(
        self, holder: Holder, request: bytes, satellite: str | None, lives: timedelta | None
    ) -> Signed:
        """A certificate for the key in `request`. It can do no more than the holder's token.

        Raises:
            NoAuthority: this router issues none.
            BadCertificateRequest, BadCertificateLifetime, UnusableName: it cannot be had so.
            UnusableAuthority: the CA is at fault.
        """
        if self.places is None:
            raise NoAuthority
        from torpor_router.access.ca.requests import key_in

        key = key_in(request)
        authority = await asyncio.to_thread(_authority, self.places)
        token = holder.token_id
        ends = await self._issued.token_ends(token) if token is not None else None
        signed = authority.issue(
            key,
            _subject(holder.name),
            org=holder.org,
            satellite=satellite,
            lives=lives or LIVES,
            no_longer_than=ends,
        )
        # What the token may do decides, so the record itself takes nothing away
        await self._issued.keep(holder.org, satellite, Role.ADMIN, signed, token)
        return signed


def _authority(places: Places) -> ClientAuthority:
    from torpor_router.access.ca.keys import read_authority

    return read_authority(*places)


def _subject(name: str) -> str:
    """A caller's name, which an identity provider may have chosen, as a common name."""
    from torpor_router.access.ca.authority import LONGEST_SUBJECT

    plain = "".join(each if each.isascii() and each.isprintable() else "?" for each in name)
    return plain[:LONGEST_SUBJECT]
