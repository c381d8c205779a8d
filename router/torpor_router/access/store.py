"""Orgs and tokens in Postgres, for administration. Times are the database's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from torpor_router.access.errors import (
    BadLifetime,
    OrgExists,
    TokenExists,
    UnknownOrg,
    UnknownToken,
    UnusableName,
)
from torpor_router.names import is_name
from torpor_router.tokens import digest, mint
from torpor_statemachine.postgres.pool import Database, Record

LONGEST_LIFETIME = timedelta(days=3_650)
_TOKEN_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")  # as in migrations/

_NEW_ORG = """
insert into orgs (name) values ($1)
returning id, name, created_at, 0 as tokens, 0 as satellites
"""
_ORGS = """
select orgs.id, orgs.name, orgs.created_at,
       (select count(*) from tokens
         where org_id = orgs.id and revoked_at is null
           and (expires_at is null or expires_at > now())) as tokens,
       (select count(*) from satellites
         where org_id = orgs.id and state <> 'terminated') as satellites
  from orgs order by orgs.name
"""
_NEW = """
insert into tokens (org_id, name, hash, expires_at)
select id, $2, $3, now() + $4::interval from orgs where name = $1
returning id, $1 as org, name, created_at, expires_at, revoked_at, now() as seen_at
"""
_TOKENS = """
select tokens.id, orgs.name as org, tokens.name, tokens.created_at, expires_at, revoked_at,
       now() as seen_at
  from tokens join orgs on orgs.id = tokens.org_id
 where ($1::text is null or orgs.name = $1) and ($2 or revoked_at is null)
 order by orgs.name, tokens.name, tokens.created_at
"""
_REVOKE = """
update tokens set revoked_at = now()
  from orgs
 where orgs.id = tokens.org_id and orgs.name = $1 and tokens.name = $2 and revoked_at is null
returning tokens.id, orgs.name as org, tokens.name, tokens.created_at, expires_at, revoked_at,
          now() as seen_at
"""
_ORG_EXISTS = "select exists (select from orgs where name = $1)"


@dataclass(frozen=True, slots=True)
class Org:
    """`tokens` and `satellites` count those that can be used."""

    id: UUID
    name: str
    created_at: datetime
    tokens: int
    satellites: int


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token, which is not the token itself."""

    id: UUID
    org: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    state: str  # "valid", "expired" or "revoked", when it was read


class Store:
    """Makes, lists and ends orgs and tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_org(self, name: str) -> Org:
        """
        Raises:
            UnusableName, OrgExists: it cannot be made.
        """
        if not is_name(name):
            raise UnusableName(repr(name))
        try:
            row = await self._database.fetchrow(_NEW_ORG, name)
        except asyncpg.UniqueViolationError:
            raise OrgExists(name) from None
        assert row is not None
        return Org(**row)

    async def orgs(self) -> list[Org]:
        """All of them, by name."""
        return [Org(**row) for row in await self._database.fetch(_ORGS)]

    async def create_token(
        self, org: str, name: str, lifetime: timedelta | None = None
    ) -> tuple[Token, str]:
        """Make a token for the org; the token's text is returned here and never again.

        Raises:
            UnusableName, BadLifetime, UnknownOrg, TokenExists: it cannot be made.
        """
        if not _TOKEN_NAME.fullmatch(name):
            raise UnusableName(repr(name))
        if lifetime is not None and not timedelta() < lifetime <= LONGEST_LIFETIME:
            raise BadLifetime(str(lifetime))
        text = mint()
        try:
            row = await self._database.fetchrow(_NEW, org, name, digest(text), lifetime)
        except asyncpg.UniqueViolationError:
            raise TokenExists(f"{org}/{name}") from None
        if row is None:
            raise UnknownOrg(repr(org))
        return _token(row), text

    async def tokens(self, org: str | None = None, *, revoked: bool = False) -> list[Token]:
        """The tokens of one org, or of all; revoked ones only where asked for.

        Raises:
            UnknownOrg: there is none of that name.
        """
        rows = await self._database.fetch(_TOKENS, org, revoked)
        if not rows and org is not None:
            await self._check_org(org)
        return [_token(row) for row in rows]

    async def revoke_token(self, org: str, name: str) -> Token:
        """End a token. Every node stops admitting its streams within 2 seconds.

        Raises:
            UnknownOrg, UnknownToken: there is none, or it was revoked before.
        """
        row = await self._database.fetchrow(_REVOKE, org, name)
        if row is None:
            await self._check_org(org)
            raise UnknownToken(f"{org}/{name}")
        return _token(row)

    async def _check_org(self, name: str) -> None:
        if not await self._database.fetchval(_ORG_EXISTS, name):
            raise UnknownOrg(repr(name))


def _token(row: Record) -> Token:
    fields = dict(row)
    seen_at, expires_at = fields.pop("seen_at"), fields["expires_at"]
    if fields["revoked_at"] is not None:
        state = "revoked"
    else:
        state = "expired" if expires_at is not None and expires_at <= seen_at else "valid"
    return Token(**fields, state=state)
