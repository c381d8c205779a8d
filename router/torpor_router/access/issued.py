"""What client certificates may do, in Postgres: the record of their issue."""

from __future__ import annotations

from torpor_router.access.errors import UnknownOrg
from torpor_router.access.roles import Role
from torpor_statemachine.postgres.pool import Database

_RECORD = """
insert into issued_certificates (fingerprint, org_id, role)
select $2, id, $3 from orgs where name = $1
on conflict (fingerprint) do update set role = excluded.role, org_id = excluded.org_id
returning fingerprint
"""


class IssuedCertificates:
    """One without a record builds and wakes, as `Role.CI`."""

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
