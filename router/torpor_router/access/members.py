"""Members of orgs in Postgres: people and services. Their tokens may do no more than they."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from torpor_router.access.checks import check_name, check_org
from torpor_router.access.errors import MemberExists, UnknownMember, UnknownOrg
from torpor_router.access.roles import Role
from torpor_statemachine.postgres.pool import Database

_MEMBER = """
members.id, (select orgs.name from orgs where orgs.id = members.org_id) as org, members.name,
kind, role, members.created_at,
(select count(*) from tokens
  where member_id = members.id and revoked_at is null
    and (expires_at is null or expires_at > now())) as tokens
"""
_ADD = f"""
insert into members (org_id, name, kind, role)
select id, $2, $3, $4 from orgs where name = $1
returning {_MEMBER}
"""
_ALL = f"""
select {_MEMBER} from orgs join members on members.org_id = orgs.id
 where orgs.name = $1 and removed_at is null
 order by members.name
"""
_FIND = """
members.name = $2 and removed_at is null and org_id = (select id from orgs where name = $1)
"""
_CHANGE = f"update members set role = $3 where {_FIND} returning {_MEMBER}"
_REMOVE = f"update members set removed_at = now() where {_FIND} returning {_MEMBER}"


@dataclass(frozen=True, slots=True)
class Member:
    """`kind` is "user" or "service"; `tokens` counts those that can be used."""

    id: UUID
    org: str
    name: str
    kind: str
    role: str
    created_at: datetime
    tokens: int


class Members:
    """Adds, lists, changes and removes members of orgs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, org: str, name: str, role: Role, *, service: bool = False) -> Member:
        """
        Raises:
            UnusableName, UnknownOrg, MemberExists: they cannot be added.
        """
        check_name(name)
        kind = "service" if service else "user"
        try:
            row = await self._database.fetchrow(_ADD, org, name, kind, role)
        except asyncpg.UniqueViolationError:
            raise MemberExists(f"{org}/{name}") from None
        if row is None:
            raise UnknownOrg(repr(org))
        return Member(**row)

    async def all(self, org: str) -> list[Member]:
        """The org's, by name.

        Raises:
            UnknownOrg: there is none of that name.
        """
        rows = await self._database.fetch(_ALL, org)
        if not rows:
            await check_org(self._database, org)
        return [Member(**row) for row in rows]

    async def change(self, org: str, name: str, role: Role) -> Member:
        """Give a member another role. Every node knows within 2 seconds.

        Raises:
            UnknownOrg, UnknownMember: there is none.
        """
        return await self._changed(org, name, _CHANGE, role)

    async def remove(self, org: str, name: str) -> Member:
        """End a member's tokens with them, within 2 seconds.

        Raises:
            UnknownOrg, UnknownMember: there is none, or they were removed before.
        """
        return await self._changed(org, name, _REMOVE)

    async def _changed(self, org: str, name: str, statement: str, *arguments: str) -> Member:
        row = await self._database.fetchrow(statement, org, name, *arguments)
        if row is None:
            await check_org(self._database, org)
            raise UnknownMember(f"{org}/{name}")
        return Member(**row)
