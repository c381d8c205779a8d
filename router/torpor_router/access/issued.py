"""What client certificates may do, in Postgres: the record of their issue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from torpor_router.access.checks import check_org
from torpor_router.access.errors import UnknownOrg
from torpor_router.access.roles import Role
from torpor_statemachine.postgres.pool import Database

if TYPE_CHECKING:
    from torpor_router.access.ca.authority import Signed

KEPT = timedelta(days=90)  # after its end
_PRUNED = 5_000  # rows in one statement
_RECORD = """
insert into issued_certificates (fingerprint, org_id, role)
select $2, id, $3 from orgs where name = $1
on conflict (fingerprint) do update set role = excluded.role, org_id = excluded.org_id
returning fingerprint
"""
_ISSUED = """
insert into issued_certificates
    (fingerprint, org_id, role, token_id, serial, subject, satellite, expires_at)
select $2, id, $3, $4, $5, $6, $7, $8 from orgs where name = $1
returning fingerprint
"""
_ALL = """
select issued.fingerprint, issued.serial, orgs.name as org, issued.satellite, issued.subject,
       issued.role, tokens.name as token, issued.issued_at, issued.expires_at,
       case when exists (select from refused_certificates as refused
                          where refused.id in (issued.fingerprint, issued.serial))
                 or tokens.revoked_at is not null then 'revoked'
            when issued.expires_at <= now() or tokens.expires_at <= now() then 'expired'
            else 'valid' end as state
  from issued_certificates as issued
  join orgs on orgs.id = issued.org_id
  left join tokens on tokens.id = issued.token_id
 where issued.serial is not null and ($1::text is null or orgs.name = $1)
   and ($2 or issued.expires_at > now())
 order by orgs.name, issued.issued_at desc, issued.serial
"""
_END_OF = "select expires_at from tokens where id = $1"
_PRUNE = """
delete from issued_certificates where fingerprint in (
    select fingerprint from issued_certificates where expires_at < now() - $1::interval limit $2
    for update skip locked)
"""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that this deployment's CA has issued.

    `satellite` is None where it is for all of its org's, `token` where it was got without one.
    `state` is "valid", "expired" or "revoked".
    """

    fingerprint: str
    serial: str
    org: str
    satellite: str | None
    subject: str
    role: str
    token: str | None
    issued_at: datetime
    expires_at: datetime
    state: str


class IssuedCertificates:
    """One of another CA, and without a record, builds and wakes, as `Role.CI`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, org: str, fingerprint: str, role: Role) -> None:
        """Say what a certificate of the org's may do, by the SHA-256 of its DER form in hex.

        Every node knows within 2 seconds.

        Raises:
            UnknownOrg: there is none of that name.
        """
        if await self._database.fetchval(_RECORD, org, fingerprint, role) is None:
            raise UnknownOrg(repr(org))

    async def keep(
        self, org: str, satellite: str | None, role: Role, signed: Signed, token_id: UUID | None
    ) -> None:
        """Record a certificate before it is handed out. One that was got with a token has no right
        that the token has not, and ends with it.

        Raises:
            UnknownOrg: there is none of that name.
        """
        kept = await self._database.fetchval(
            _ISSUED,
            *(org, signed.fingerprint, role, token_id),
            *(signed.serial, signed.subject, satellite, signed.ends),
        )
        if kept is None:
            raise UnknownOrg(repr(org))

    async def all(self, org: str | None = None, *, ended: bool = False) -> list[Issued]:
        """Of one org or of every one, the newest first; those that have `ended`, too.

        Raises:
            UnknownOrg: there is none of that name.
        """
        rows = await self._database.fetch(_ALL, org, ended)
        if not rows and org is not None:
            await check_org(self._database, org)
        return [Issued(**row) for row in rows]

    async def token_ends(self, token_id: UUID) -> datetime | None:
        """When the token ends by itself; None: it does not."""
        ends: datetime | None = await self._database.fetchval(_END_OF, token_id)
        return ends

    async def prune(self) -> int:
        """Delete some that ended long ago; how many."""
        done = await self._database.execute(_PRUNE, KEPT, _PRUNED)
        return int(done.rpartition(" ")[2])
