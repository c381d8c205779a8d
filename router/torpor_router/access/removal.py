"""Removes an org: first what lets anyone in, then (by others) its satellites, then its name."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from torpor_router.access.errors import UnknownOrg
from torpor_statemachine.postgres.pool import Database

_PRUNED = 500  # rows in one statement
_BELONGINGS = """
select orgs.id, orgs.name,
       array(select id from satellites where org_id = orgs.id and state <> 'terminated'
              order by name) as satellite_ids,
       array(select name from satellites where org_id = orgs.id and state <> 'terminated'
              order by name) as satellites,
       (select count(*) from tokens where org_id = orgs.id and revoked_at is null
           and (expires_at is null or expires_at > now())) as tokens,
       (select count(*) from members where org_id = orgs.id and removed_at is null) as members,
       (select count(*) from trust_rules where org_id = orgs.id) as trust_rules,
       (select count(*) from issued_certificates where org_id = orgs.id
           and (expires_at is null or expires_at > now())) as certificates
  from orgs where orgs.name = $1
"""
_CLOSE = """
with tokens_ended as (
    update tokens set revoked_at = now() where org_id = $1 and revoked_at is null
), members_ended as (
    update members set removed_at = now() where org_id = $1 and removed_at is null
), rules_ended as (
    delete from trust_rules where org_id = $1
), webhooks_ended as (
    delete from webhooks where org_id = $1
)
insert into refused_certificates (id, reason)
select fingerprint, 'its org was removed' from issued_certificates
 where org_id = $1 and (expires_at is null or expires_at > now())
on conflict (id) do nothing
"""
_FREE = """
update orgs set name = name || '~' || left(id::text, 8)
 where id = $1 and position('~' in name) = 0
   and not exists (select from satellites
                    where org_id = $1 and state not in ('terminating', 'terminated'))
returning true
"""
_PRUNE = """
delete from orgs where id = any(array(
    select id from orgs where position('~' in name) > 0
       and not exists (select from satellites where org_id = orgs.id)
     limit $1))
"""


@dataclass(frozen=True, slots=True)
class Belongings:
    """What an org has, and loses when it is removed."""

    id: UUID
    name: str
    satellite_ids: list[UUID]
    satellites: list[str]
    tokens: int
    members: int
    trust_rules: int
    certificates: int

    def __str__(self) -> str:
        counts = {
            "tokens": self.tokens,
            "members": self.members,
            "trust rules": self.trust_rules,
            "certificates": self.certificates,
        }
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        if self.satellites:
            parts.insert(0, f"the satellites {', '.join(self.satellites)} and their disks")
        return "; ".join(parts) or "nothing but its name"


class Removal:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def belongings(self, org: str) -> Belongings:
        """
        Raises:
            UnknownOrg: there is none of that name.
        """
        row = await self._database.fetchrow(_BELONGINGS, org)
        if row is None or "~" in org:
            raise UnknownOrg(repr(org[:60]))
        return Belongings(**row)

    async def close(self, org_id: UUID) -> None:
        """Let nobody of the org in any more, within 2 seconds: its tokens, members, trust rules and
        the certificates on record end. Another CA's without a record last until `free`."""
        await self._database.execute(_CLOSE, org_id)

    async def free(self, org_id: UUID) -> bool:
        """Give its name up, once none of its satellites is left; whether that was so."""
        return await self._database.fetchval(_FREE, org_id) is not None

    async def prune(self) -> int:
        """Delete orgs that were removed, and whose satellites' history is gone; how many."""
        done = await self._database.execute(_PRUNE, _PRUNED)
        return int(done.rpartition(" ")[2])
