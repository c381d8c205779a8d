"""Trust rules, and the tokens that they give, in Postgres."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from torpor_router.access.checks import check_org, checked_satellites
from torpor_router.access.errors import UnknownOrg
from torpor_router.access.oidc.errors import TrustRuleExists, UnknownTrustRule
from torpor_router.access.oidc.rules import NewTrustRule, TrustRule
from torpor_router.access.roles import Role
from torpor_statemachine.postgres.pool import Database, Record

_COLUMNS = """
rules.id, org_id, orgs.name as org, rules.name, issuer, audience, subject, claims, role,
satellites, lifetime, once
"""
_ADD = f"""
with rules as (
    insert into trust_rules
        (org_id, name, issuer, audience, subject, claims, role, satellites, lifetime, once)
    select id, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10 from orgs where name = $1
    returning *
)
select {_COLUMNS} from rules join orgs on orgs.id = org_id
"""
_OF_ORG = f"""
select {_COLUMNS} from trust_rules as rules join orgs on orgs.id = org_id
 where orgs.name = $1 order by rules.name
"""
_OF_ISSUER = f"""
select {_COLUMNS} from trust_rules as rules join orgs on orgs.id = org_id
 where issuer = $1 and ($2 = '' or orgs.name = $2) order by orgs.name, rules.name
"""
_REMOVE = f"""
with rules as (
    delete from trust_rules
     where name = $2 and org_id = (select id from orgs where name = $1)
    returning *
)
select {_COLUMNS} from rules join orgs on orgs.id = org_id
"""
# The names of a rule's tokens are told apart by their hash
_GIVE = """
insert into tokens (org_id, name, hash, expires_at, role, satellites, subject, rule_id)
select org_id, name || '.' || left(encode($2::bytea, 'hex'), 16), $2,
       least(now() + lifetime, to_timestamp($4)), role, satellites, $3, id
  from trust_rules where id = $1
on conflict do nothing
"""
_USE = """
insert into used_assertions (issuer, jti, expires_at) values ($1, $2, to_timestamp($3))
on conflict do nothing returning jti
"""
# Apart from what gives them: every deletion of a token is told to all nodes
_PRUNE_TOKENS = """
delete from tokens where id in (
    select id from tokens where rule_id is not null and expires_at < now() - interval '1 day'
    limit 1000 for update skip locked)
"""
_PRUNE_USED = """
delete from used_assertions where (issuer, jti) in (
    select issuer, jti from used_assertions where expires_at < now() - interval '1 hour'
    limit 1000 for update skip locked)
"""


class TrustRules:
    """Adds, lists, removes and finds them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, org: str, new: NewTrustRule) -> TrustRule:
        """
        Raises:
            UnknownOrg, TrustRuleExists, UnusableName: it cannot be added.
        """
        try:
            row = await self._database.fetchrow(
                *(_ADD, org, new.name, new.issuer, new.audience, new.subject),
                *(json.dumps(dict(new.claims)), new.role, checked_satellites(new.satellites)),
                *(new.lifetime, new.once),
            )
        except asyncpg.UniqueViolationError:
            raise TrustRuleExists(f"{org}/{new.name}") from None
        if row is None:
            raise UnknownOrg(repr(org))
        return _rule(row)

    async def all(self, org: str) -> list[TrustRule]:
        """The org's, by name.

        Raises:
            UnknownOrg: there is none of that name.
        """
        rows = await self._database.fetch(_OF_ORG, org)
        if not rows:
            await check_org(self._database, org)
        return [_rule(row) for row in rows]

    async def of_issuer(self, issuer: str, org: str = "") -> Sequence[TrustRule]:
        """Those that name the issuer, of one org or of all."""
        return [_rule(row) for row in await self._database.fetch(_OF_ISSUER, issuer, org)]

    async def remove(self, org: str, name: str) -> TrustRule:
        """Remove one, and end the tokens that it gave within 2 seconds.

        Raises:
            UnknownOrg, UnknownTrustRule: there is none.
        """
        row = await self._database.fetchrow(_REMOVE, org, name)
        if row is None:
            await check_org(self._database, org)
            raise UnknownTrustRule(f"{org}/{name}")
        return _rule(row)

    async def give(self, rule: UUID, token_hash: bytes, subject: str, ends: float) -> None:
        """Make a token that ends when the rule says, or at `ends` (seconds since 1970)."""
        await self._database.execute(_GIVE, rule, token_hash, subject, ends)

    async def use(self, issuer: str, jti: str, ends: float) -> bool:
        """Whether this assertion is used for the first time."""
        return await self._database.fetchval(_USE, issuer, jti, ends) is not None

    async def prune(self) -> int:
        """Delete some tokens and used assertions that are long over; how many."""
        done = [await self._database.execute(each) for each in (_PRUNE_TOKENS, _PRUNE_USED)]
        return sum(int(each.rpartition(" ")[2]) for each in done)


def _rule(row: Record) -> TrustRule:
    fields: dict[str, Any] = dict(row)
    satellites = fields["satellites"]
    fields["claims"] = json.loads(fields["claims"])
    fields["role"] = Role(fields["role"])
    fields["satellites"] = None if satellites is None else tuple(satellites)
    assert isinstance(fields["lifetime"], timedelta)
    return TrustRule(**fields)
