"""Orgs' budgets in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from torpor_router.access.checks import check_org
from torpor_router.policies.budget import NEAR, Spent
from torpor_router.usage.report import cents
from torpor_statemachine.errors import BudgetNear, BudgetReached, record
from torpor_statemachine.postgres.pool import Database

_COLUMNS = """
orgs.name as org, amount, refuses, month, spent, currency, reached, counted_at,
unpriced / 3600 as hours_unpriced
"""
_SET = f"""
with budgets as (
    insert into budgets as known (org_id, amount, refuses, actor)
    select id, $2, $3, $4 from orgs where name = $1
    on conflict (org_id) do update set amount = excluded.amount, refuses = excluded.refuses,
        actor = excluded.actor, made_at = now(), near_told = null,
        reached_told = null, reached = coalesce(known.spent >= excluded.amount, false)
    returning *
)
select {_COLUMNS} from budgets join orgs on orgs.id = org_id
"""
_ALL = f"select {_COLUMNS} from budgets join orgs on orgs.id = org_id order by orgs.name"
_REMOVE = """
delete from budgets using orgs where orgs.id = org_id and orgs.name = $1 returning org_id
"""
_WATCHED = "select org_id, amount, (now() at time zone 'UTC')::date as today from budgets"
# With the notice that follows from it, once a month: what is reached is not told to be near as well
_COUNTED = """
with before as (
    select * from budgets where org_id = $1 and amount = $2 for no key update
), noted as (
    update budgets set month = $3, spent = $4, unpriced = $5, currency = $6, counted_at = now(),
        reached = $4 >= budgets.amount,
        near_told = case when $4 >= budgets.amount * $7 then $3 else budgets.near_told end,
        reached_told = case when $4 >= budgets.amount then $3 else budgets.reached_told end
    from before where budgets.org_id = before.org_id
    returning budgets.org_id, budgets.reached,
        budgets.near_told is distinct from before.near_told as is_near,
        budgets.reached_told is distinct from before.reached_told as is_reached
)
select case when is_reached
    then add_notice('budget.reached', org_id, '', org_id::text, $9, $10)
    else add_notice('budget.near', org_id, '', org_id::text, $8, $10) end
from noted where is_near or is_reached
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an org means to spend in a month. `spent`, in `currency`, is what it had spent in
    `month` at `counted_at`; None before the first count, and where the routers know no prices.
    `refuses`: no wake once it is `reached`."""

    org: str
    amount: Decimal
    refuses: bool
    month: date | None
    spent: Decimal | None
    currency: str | None
    reached: bool
    counted_at: datetime | None
    hours_unpriced: float | None


@dataclass(frozen=True, slots=True)
class Watched:
    """An org whose spending is to be counted. `today` is the database's, in UTC."""

    org_id: UUID
    amount: Decimal
    today: date


class Budgets:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, org: str, amount: Decimal, *, refuses: bool, actor: str) -> Budget:
        """
        Raises:
            UnknownOrg: there is none of that name.
        """
        row = await self._database.fetchrow(_SET, org, amount, refuses, actor)
        if row is None:
            await check_org(self._database, org)
        assert row is not None
        return Budget(**row)

    async def all(self) -> list[Budget]:
        return [Budget(**row) for row in await self._database.fetch(_ALL)]

    async def remove(self, org: str) -> bool:
        """Whether it had one.

        Raises:
            UnknownOrg: there is none of that name.
        """
        removed = await self._database.fetchrow(_REMOVE, org) is not None
        if not removed:
            await check_org(self._database, org)
        return removed

    async def watched(self) -> Sequence[Watched]:
        return [Watched(**row) for row in await self._database.fetch(_WATCHED)]

    async def counted(self, one: Watched, month: date, now: Spent, currency: str) -> None:
        """Write what was spent, and the notice that it is near the budget or beyond it. A budget
        that was set anew meanwhile is counted next time."""
        text = f"{cents(now.amount)} of {one.amount} {currency} in {month:%Y-%m}"
        await self._database.execute(
            _COUNTED,
            *(one.org_id, one.amount, month, now.amount, float(now.unpriced), currency, NEAR),
            *(record(BudgetNear(text)), record(BudgetReached(text)), timedelta(seconds=1)),
        )
