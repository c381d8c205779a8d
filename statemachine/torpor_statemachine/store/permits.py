"""Whether a satellite may be woken: what operators and orgs have decided about spending.

It is asked at the claim of a wake, never for a stream to a satellite that is awake.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from torpor_statemachine.errors import (
    BudgetReached,
    LifecycleError,
    RunawayAwake,
    SatelliteSuspended,
    record,
)
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import Database

_REACHED = """
refuses and reached and month = date_trunc('month', now() at time zone 'UTC')::date
"""
# For a statement's rows `s` of satellites
PERMITTED = f"""
not exists (select from runaways
    where runaways.satellite_id = s.id and runaways.suspended)
and not exists (select from budgets where budgets.org_id = s.org_id and {_REACHED})
"""
_RUNAWAY = """
select detail, suspended, day >= (now() at time zone 'UTC')::date - 1
    and (allowed_until is null or allowed_until < now()) as fresh
from runaways where satellite_id = $1
"""
_BUDGET = f"""
select round(spent, 2) as spent, amount, currency, to_char(month, 'YYYY-MM') as month
from budgets where org_id = $1 and {_REACHED}
"""


class Permits:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, satellite: Satellite) -> None:
        """
        Raises:
            SatelliteSuspended, BudgetReached: it may not be woken.
        """
        found = await self._database.fetchrow(_RUNAWAY, satellite.id)
        if found is not None and found["suspended"]:
            raise SatelliteSuspended(f"{satellite.full_name}: {found['detail']}")
        await self.check_org(satellite.org_id)

    async def check_org(self, org_id: UUID) -> None:
        """
        Raises:
            BudgetReached: no satellite of it may be woken or launched.
        """
        found = await self._database.fetchrow(_BUDGET, org_id)
        if found is not None:
            raise BudgetReached(
                f"{found['spent']} of {found['amount']} {found['currency']} in {found['month']}"
            )

    async def shown(self, satellite: Satellite) -> Satellite:
        """With what keeps it from being woken, or that it is a runaway, where nothing else is in
        the way."""
        why = await self._why(satellite) if satellite.obstacle is None else None
        return replace(satellite, obstacle=record(why)) if why is not None else satellite

    async def _why(self, satellite: Satellite) -> LifecycleError | None:
        match satellite.state:
            case State.RUNNING:
                found = await self._database.fetchrow(_RUNAWAY, satellite.id)
                return RunawayAwake(found["detail"]) if found and found["fresh"] else None
            case State.ASLEEP | State.SLEEPING:
                try:
                    await self.check(satellite)
                except LifecycleError as error:
                    return error
        return None
