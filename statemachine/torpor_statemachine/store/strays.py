"""Machines that carry this deployment's tag and were never in this database.

A row tells of a machine before it is made, and stays for months after its end: they belong to
another database, or to this one before it was restored, or a failover lost what told of them: the
whole row, or that it was to have a newer machine. None is ours to end, unless an operator says so;
until then they are known by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from torpor_provisioner.contract import Arch
from torpor_statemachine.errors import NameTaken, StrayOfSatellite, UnknownStray
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.duties import Machines

# A part of the machines there are
_COMPARED = """
with seen as (
    select ref, satellite_id, generation
    from unnest($2::text[], $3::uuid[], $4::int[]) as seen (ref, satellite_id, generation)
    where not exists (select from satellites
        where satellites.id = seen.satellite_id and satellites.generation >= seen.generation)
), kept as (
    insert into strays (provisioner, ref, satellite_id, generation)
    select $1, ref, satellite_id, generation from seen
    on conflict (provisioner, ref) do update set seen_at = now()
)
select seen.ref, coalesce(strays.ending, false) as ending, strays.ref is null as is_new
from seen left join strays on strays.provisioner = $1 and strays.ref = seen.ref
order by seen.ref
"""
_FORGET = "delete from strays where provisioner = $1 and seen_at < $2"
_ALL = """
select provisioner, ref, satellite_id, generation, first_seen, ending, now() as read_at
from strays order by provisioner, ref
"""
_END = "update strays set ending = true where ref = $1 returning true"
_ADOPT = """
with adopted as (
    delete from strays where ref = $1 and not ending returning *
), made as (
    insert into satellites (id, org_id, name, provisioner, arch, state, sleep_kind, generation, ref,
        epoch)
    select satellite_id, $2, $3, provisioner, $4, 'asleep', 'stopped', generation, ref, 1
    from adopted
    returning *
)
insert into transitions (satellite_id, epoch, event, source, target, actor, reason)
select id, epoch, 'adopted', state, state, 'operator', 'asked' from made
returning satellite_id
"""


@dataclass(frozen=True, slots=True)
class Stray:
    """Times are the database's, `read_at` is now. `ending`: an operator has had it ended."""

    provisioner: str
    ref: str
    satellite_id: UUID
    generation: int
    first_seen: datetime
    ending: bool
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Compared:
    """`found`: those not known before; `ending`: those to be ended."""

    found: list[str]
    ending: list[str]


class Strays:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def compare(self, provisioner: str, machines: Machines) -> Compared:
        """Keep which of these `machines` are strays."""
        rows = await self._database.fetch(
            _COMPARED,
            provisioner,
            list(machines),
            [satellite_id for satellite_id, _ in machines.values()],
            [generation for _, generation in machines.values()],
        )
        return Compared(
            found=[row["ref"] for row in rows if row["is_new"]],
            ending=[row["ref"] for row in rows if row["ending"]],
        )

    async def forget(self, provisioner: str, since: datetime) -> None:
        """All machines have been looked at `since` then: those that were not seen are gone."""
        await self._database.execute(_FORGET, provisioner, since)

    async def all(self) -> list[Stray]:
        return [Stray(**row) for row in await self._database.fetch(_ALL)]

    async def end(self, ref: str) -> None:
        """Have any router end it, in its next search.

        Raises:
            UnknownStray: there is none.
        """
        if not await self._database.fetchval(_END, ref):
            raise UnknownStray(ref)

    async def adopt(self, ref: str, org_id: UUID, name: str, arch: Arch) -> UUID:
        """Make a satellite of it, which is believed to be asleep until the cloud shows otherwise.

        Raises:
            UnknownStray: there is none, or it is being ended.
            StrayOfSatellite: its satellite is in this database, with an older machine.
            NameTaken: the org has a satellite of that name.
        """
        try:
            adopted = await self._database.fetchval(_ADOPT, ref, org_id, name, arch.value)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "satellites_pkey":
                raise StrayOfSatellite(ref) from error
            raise NameTaken(name) from error
        if adopted is None:
            raise UnknownStray(ref)
        satellite_id: UUID = adopted
        return satellite_id
