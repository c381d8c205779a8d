"""Satellites as they are read, and as they are made."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import asyncpg

from torpor_provisioner.contract import Address
from torpor_statemachine import clock
from torpor_statemachine.errors import LimitReached, NameTaken
from torpor_statemachine.gate import Admitted
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store import rows
from torpor_statemachine.store.changes import Attribution, Changed
from torpor_statemachine.store.leases import PROVED

_SATELLITES = f"select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id"
_BY_ID = f"{_SATELLITES} where s.id = $1"
_BY_NAME = f"{_SATELLITES} where s.org_id = $1 and s.name = $2 and s.state <> 'terminated'"
_BY_REQUEST = f"{_SATELLITES} where s.org_id = $1 and s.request_id = $2"
_OF_ORG = f"{_SATELLITES} where s.org_id = $1 and s.state <> 'terminated' order by s.name"
_RUNNING = f"""
select host, port, epoch from satellites
where id = $1 and state = 'running' and claimed_by is null and {PROVED}
"""
_ORG = "select name from orgs where id = $1"
_HISTORY = "select * from transitions where satellite_id = $1 order by id desc limit $2"
_LAUNCH = f"""
with made as (
    insert into satellites (id, org_id, name, provisioner, arch, size, settings,
        sleep_mode, sleep_after, state, epoch, claimed_by, claim_deadline, labels, request_id,
        timeline)
    select $14, $1, $2, $3, $4, $5, $6, $7, $8, 'launching', 1, $9, now() + $10, $15,
        nullif($16, ''), server_timeline()
    where limit_reached($1, null) is null
    returning *
), told as (
    insert into transitions (satellite_id, epoch, event, source, target, node_id, actor, reason)
    select id, epoch, $11, state, state, $9, $12, $13 from made
    returning id as transition_id, at
)
select {rows.COLUMNS}, told.transition_id, told.at
from made s join orgs on orgs.id = s.org_id cross join told
"""
_LIMIT = "select limit_reached($1, null)"
_CHANGE = """
with changed as (
    update satellites set
        sleep_mode = coalesce($2, sleep_mode),
        sleep_after = coalesce($3, sleep_after),
        sleep_due = idle_since + coalesce($3, sleep_after),
        labels = (labels || $6::jsonb) - $7::text[],
        schedule = coalesce($8, schedule),
        awake_until = case when $8::text is null then awake_until end,
        schedule_due = case when $8 is null then schedule_due when $8 <> '' then now() end
    where id = $1
    returning id, epoch, state
)
insert into transitions (satellite_id, epoch, event, source, target, actor, reason, detail)
select id, epoch, 'changed', state, state, $4, 'asked', $5 from changed
"""


class Queries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_id(self, satellite_id: UUID) -> Satellite | None:
        row = await self._database.fetchrow(_BY_ID, satellite_id)
        return rows.satellite(row) if row is not None else None

    async def by_name(self, org_id: UUID, name: str) -> Satellite | None:
        row = await self._database.fetchrow(_BY_NAME, org_id, name)
        return rows.satellite(row) if row is not None else None

    async def by_request(self, org_id: UUID, request_id: str) -> Satellite | None:
        """The one that this request has made, terminated or not."""
        row = await self._database.fetchrow(_BY_REQUEST, org_id, request_id)
        return rows.satellite(row) if row is not None else None

    async def running(self, satellite_id: UUID) -> Admitted | None:
        """Where it runs, if it surely does and nobody has claimed it for anything else."""
        row = await self._database.fetchrow(_RUNNING, satellite_id)
        return Admitted(Address(row["host"], row["port"]), row["epoch"]) if row else None

    async def of_org(self, org_id: UUID) -> list[Satellite]:
        return [rows.satellite(row) for row in await self._database.fetch(_OF_ORG, org_id)]

    async def org(self, org_id: UUID) -> str:
        """Its name."""
        name: str = await self._database.fetchval(_ORG, org_id)
        return name

    async def history(self, satellite_id: UUID, limit: int) -> list[Transition]:
        found = await self._database.fetch(_HISTORY, satellite_id, limit)
        return [rows.transition(row) for row in found]

    async def launch(
        self, new: NewSatellite, by: Attribution, budget: float, satellite_id: UUID
    ) -> Changed:
        """A new row, claimed from its first moment.

        Raises:
            NameTaken: the org has one of that name.
            LimitReached: the org may have no more.
        """
        asked_at = clock.now()
        try:
            row = await self._database.fetchrow(
                _LAUNCH,
                new.org_id,
                new.name,
                new.provisioner,
                new.arch.value,
                new.size,
                rows.as_json(new.settings),
                new.sleep_mode.value,
                new.sleep_after,
                by.node_id,
                timedelta(seconds=budget),
                Event.LAUNCH.value,
                by.actor,
                by.reason,
                satellite_id,
                rows.as_json(new.labels),
                new.request_id,
            )
        except asyncpg.UniqueViolationError as error:
            raise NameTaken(new.name) from error
        if row is None:
            raise LimitReached(await self._database.fetchval(_LIMIT, new.org_id) or "")
        made = rows.satellite(row)
        return Changed(
            made,
            Transition(
                id=row["transition_id"],
                satellite_id=made.id,
                epoch=made.epoch,
                event=Event.LAUNCH.value,
                source=State.LAUNCHING,
                target=State.LAUNCHING,
                at=row["at"],
                node_id=by.node_id,
                actor=by.actor,
                reason=by.reason,
            ),
            asked_at,
        )

    async def change(self, satellite_id: UUID, changes: Changes, actor: str) -> None:
        """What can be changed in any state, with its line in the history."""
        mode: SleepMode | None = changes.sleep_mode
        await self._database.execute(
            _CHANGE,
            satellite_id,
            mode.value if mode else None,
            changes.sleep_after,
            *(actor, changes.policy()),
            rows.as_json({key: value for key, value in changes.labels.items() if value}),
            [key for key, value in changes.labels.items() if not value],
            changes.schedule,
        )
