"""Orgs and tokens in Postgres, for administration. Times are the database's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from torpor_router.access.checks import check_name, check_org, checked_satellites
from torpor_router.access.errors import (
    BadLifetime,
    OrgExists,
    TokenExists,
    UnknownMember,
    UnknownOrg,
    UnknownToken,
    UnusableName,
)
from torpor_router.access.roles import Grant, Role, granted
from torpor_router.names import is_name
from torpor_router.tokens import digest, mint
from torpor_statemachine.postgres.pool import Database, Record

LONGEST_LIFETIME = timedelta(days=3_650)

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
  from orgs
 where position('~' in orgs.name) = 0 and ($1::text is null or orgs.name = $1)
 order by orgs.name
"""
_COLUMNS = """
tokens.id, coalesce(orgs.name, '') as org, tokens.name, coalesce(tokens.role, 'admin') as role,
tokens.role is null as from_before_roles, tokens.satellites, members.name as member,
tokens.subject, tokens.created_at, expires_at, revoked_at, used_at, now() as seen_at
"""
_BESIDE = """
left join orgs on orgs.id = tokens.org_id
left join members on members.id = tokens.member_id
left join token_uses on token_id = tokens.id
"""
_NEW = f"""
with tokens as (
    insert into tokens (org_id, name, hash, expires_at, role, satellites, member_id)
    select orgs.id, $2, $3, now() + $4::interval, $5, $6, members.id
      from (select) as one
      left join orgs on orgs.name = $1
      left join members on members.org_id = orgs.id and members.name = $7 and removed_at is null
     where (orgs.id is null) = ($5 = 'operator') and (members.id is null) = ($7::text is null)
    returning *
)
select {_COLUMNS} from tokens {_BESIDE}
"""
_TOKENS = f"""
select {_COLUMNS} from tokens {_BESIDE}
 where ($1::text is null or orgs.name = $1) and ($2 or revoked_at is null)
   and (tokens.role is not distinct from 'operator') = $3
   and (tokens.subject is null or $2 or expires_at > now())
 order by orgs.name, tokens.name, tokens.created_at
"""
_FIND = """
tokens.id = (
    select tokens.id from tokens left join orgs on orgs.id = tokens.org_id
     where orgs.name is not distinct from $1 and tokens.name = $2 and revoked_at is null)
"""
_ONE = f"select {_COLUMNS} from tokens {_BESIDE} where {_FIND}"
_NARROW = f"""
with tokens as (
    update tokens set role = $3, satellites = $4 where {_FIND} returning *
)
select {_COLUMNS} from tokens {_BESIDE}
"""
# The old one goes on under another name until it ends. A job's own is not for others to hold.
_ROTATE = f"""
with old as (
    update tokens set
        name = case when $3 > interval '0'
            then rtrim(left(tokens.name, 40), '._-') || '.old-' || left(tokens.id::text, 8)
            else tokens.name end,
        revoked_at = case when $3 > interval '0' then null else now() end,
        expires_at = least(before.expires_at, now() + $3)
    from tokens as before
    where before.id = tokens.id and tokens.subject is null and {_FIND}
    returning tokens.*, before.expires_at - tokens.created_at as lives
), tokens as (
    insert into tokens (org_id, name, hash, expires_at, role, satellites, member_id)
    select org_id, $2, $4, now() + coalesce($5, lives), role, satellites, member_id from old
    returning *
)
select {_COLUMNS} from tokens {_BESIDE}
"""
_REVOKE = f"""
with tokens as (
    update tokens set revoked_at = now() where {_FIND} returning *
)
select {_COLUMNS} from tokens {_BESIDE}
"""


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
    """What is known of a token, which is not the token itself.

    An operator's has no `org`. `satellites` is None where it is for all of its org's. One made
    before there were roles may do everything (`from_before_roles`). `subject` is whom an identity
    provider named.
    """

    id: UUID
    org: str
    name: str
    role: str
    from_before_roles: bool
    satellites: list[str] | None
    member: str | None
    subject: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None  # to the minute
    state: str  # "valid", "expired" or "revoked", when it was read

    @property
    def grant(self) -> Grant:
        return granted((self.role,), self.satellites)


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
        return [Org(**row) for row in await self._database.fetch(_ORGS, None)]

    async def org(self, name: str) -> Org:
        """
        Raises:
            UnknownOrg: there is none of that name.
        """
        row = await self._database.fetchrow(_ORGS, name)
        if row is None:
            raise UnknownOrg(repr(name[:60]))
        return Org(**row)

    async def create_token(
        self,
        org: str,
        name: str,
        lifetime: timedelta | None = None,
        *,
        role: Role = Role.ADMIN,
        satellites: Sequence[str] | None = None,
        member: str | None = None,
    ) -> tuple[Token, str]:
        """Make a token; its text is returned here and never again. An operator's has org "".

        Raises:
            UnusableName, BadLifetime, UnknownOrg, UnknownMember, TokenExists: it cannot be made.
        """
        check_name(name)
        if lifetime is not None and not timedelta() < lifetime <= LONGEST_LIFETIME:
            raise BadLifetime(str(lifetime))
        text = mint()
        only_for = checked_satellites(satellites)
        arguments = (org or None, name, digest(text), lifetime, role, only_for, member)
        try:
            row = await self._database.fetchrow(_NEW, *arguments)
        except asyncpg.UniqueViolationError:
            raise TokenExists(f"{org or 'operator'}/{name}") from None
        if row is None:
            await self._check_org(org)
            raise UnknownMember(f"{org}/{member}") if member else UnknownOrg(repr(org))
        return _token(row), text

    async def tokens(
        self, org: str | None = None, *, revoked: bool = False, operators: bool = False
    ) -> list[Token]:
        """The tokens of one org, of all orgs, or of operators; revoked ones only where asked for.

        Raises:
            UnknownOrg: there is none of that name.
        """
        rows = await self._database.fetch(_TOKENS, org, revoked, operators)
        if not rows and org is not None:
            await self._check_org(org)
        return [_token(row) for row in rows]

    async def token(self, org: str, name: str) -> Token | None:
        """The token of that name, unless it was revoked."""
        row = await self._database.fetchrow(_ONE, org or None, name)
        return None if row is None else _token(row)

    async def narrow_token(
        self, org: str, name: str, role: Role, satellites: Sequence[str] | None
    ) -> Token:
        """Change what a token may do. Every node knows within 2 seconds.

        Raises:
            UnusableName, UnknownOrg, UnknownToken: it cannot be changed so.
        """
        only_for = checked_satellites(satellites)
        return await self._changed(org, name, _NARROW, role, only_for)

    async def rotate_token(
        self, org: str, name: str, overlap: timedelta, lifetime: timedelta | None = None
    ) -> tuple[Token, str]:
        """Another token with the name and the rights of this one, which goes on for `overlap`. It
        lives for as long as the old one was to, unless `lifetime` says otherwise.

        Raises:
            BadLifetime, UnknownOrg, UnknownToken: nothing was changed.
        """
        if not timedelta() <= overlap <= LONGEST_LIFETIME:
            raise BadLifetime(str(overlap))
        if lifetime is not None and not timedelta() < lifetime <= LONGEST_LIFETIME:
            raise BadLifetime(str(lifetime))
        text = mint()
        made = await self._changed(org, name, _ROTATE, overlap, digest(text), lifetime)
        return made, text

    async def revoke_token(self, org: str, name: str) -> Token:
        """End a token. Every node stops admitting its streams within 2 seconds.

        Raises:
            UnknownOrg, UnknownToken: there is none, or it was revoked before.
        """
        return await self._changed(org, name, _REVOKE)

    async def _changed(self, org: str, name: str, statement: str, *arguments: Any) -> Token:
        row = await self._database.fetchrow(statement, org or None, name, *arguments)
        if row is None:
            await self._check_org(org)
            raise UnknownToken(f"{org or 'operator'}/{name}")
        return _token(row)

    async def _check_org(self, name: str) -> None:
        if name:  # operators have none
            await check_org(self._database, name)


def _token(row: Record) -> Token:
    fields = dict(row)
    seen_at, expires_at = fields.pop("seen_at"), fields["expires_at"]
    if fields["revoked_at"] is not None:
        state = "revoked"
    else:
        state = "expired" if expires_at is not None and expires_at <= seen_at else "valid"
    return Token(**fields, state=state)
