"""Budgets: counted as `torpor usage` counts, told of once a month, and obeyed by the next wake."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.access.errors import UnknownOrg
from torpor_router.policies.budget import spent
from torpor_router.policies.budgets import Budgets
from torpor_router.policies.watch import BudgetWatch
from torpor_router.usage.prices import Price, Prices
from torpor_router.usage.report import By, cents, report
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.usage import Day, Total, Usage

PRICES = Prices(
    "USD",
    {"ec2": {"big": Price(Decimal("0.1785"), Decimal("0.011")), "default": Price(Decimal("0.07"))}},
)
_DAY = """
insert into satellite_days (satellite_id, day, org_id, name, provisioner, size, running, asleep)
select $1, (now() at time zone 'UTC')::date, id, 'one', $2, $3, $4, $5 from orgs where name = 'acme'
"""
ONE = UUID(int=1)


@pytest.fixture
async def budgets(database: Any) -> Budgets:
    await database.execute("insert into orgs (name) values ('acme'), ('globex')")
    return Budgets(database)


async def hours(database: Any, awake: float, asleep: float = 0, size: str = "big") -> None:
    await database.execute(_DAY, uuid4(), "ec2", size, awake * 3600, asleep * 3600)


async def told(database: Any) -> list[str]:
    return [row["kind"] for row in await database.fetch("select kind from notices order by number")]


async def test_what_was_spent_is_what_usage_says(budgets: Budgets, database: Any) -> None:
    await hours(database, 100.123456, 55.5)
    await hours(database, 3.3, 1.1, "small")
    await database.execute(_DAY, uuid4(), "vm", "x", 7_200.0, 0.0)  # nobody knows its price
    await budgets.set("acme", Decimal(1_000), refuses=False, actor="shell:ann")
    await BudgetWatch(database, PRICES).look()
    [seen] = await budgets.all()
    today = seen.counted_at.date()
    days = await Usage(database).days(today.replace(day=1), today, "acme")
    _, total = report(days, PRICES, By.ORG)
    assert cents(seen.spent) == cents(total.spent) == Decimal("18.71")
    assert (seen.currency, seen.reached, seen.hours_unpriced) == ("USD", False, 2.0)
    assert seen.month == today.replace(day=1)
    assert await told(database) == []


seconds = st.floats(0, 86_400).map(lambda value: round(value, 6))
sizes = st.sampled_from(("big", "small"))


@given(st.lists(st.tuples(sizes, seconds, seconds), max_size=20))
def test_the_same_money_by_either_way(rows: list[tuple[str, float, float]]) -> None:
    days = [
        Day(
            satellite_id=ONE,
            day=date(2026, 2, 3),
            org_id=ONE,
            org="acme",
            name="one",
            seconds=dict.fromkeys(State, 0.0) | {State.RUNNING: awake, State.FAILED: off},
            wakes={},
            streams=0,
            held=0.0,
            provisioner="ec2",
            size=size,
            labels={},
        )
        for size, awake, off in rows
    ]
    totals = [Total("ec2", size, awake, off) for size, awake, off in rows]
    assert spent(totals, PRICES).amount == report(days, PRICES, By.ORG)[1].spent


async def test_a_notice_at_four_fifths_and_at_the_whole_once_a_month(
    budgets: Budgets, database: Any
) -> None:
    watch = BudgetWatch(database, PRICES)
    await budgets.set("acme", Decimal("17.85"), refuses=False, actor="shell:ann")  # 100 h
    for awake, kinds in (
        (79.9, []),
        (0.1, ["budget.near"]),
        (19.9, ["budget.near"]),
        (0.1, ["budget.near", "budget.reached"]),
        (50.0, ["budget.near", "budget.reached"]),
    ):
        await hours(database, awake)
        await watch.look()
        await watch.look()
        assert await told(database) == kinds, awake
    failures = await database.fetch("select failure, org_id is null as none from notices")
    assert [row["failure"].split(" in ")[0] for row in failures] == [
        "TPR-2048 14.28 of 17.85 USD",
        "TPR-2047 17.85 of 17.85 USD",
    ]
    await database.execute(
        "update budgets set near_told = near_told - interval '1 month',"
        " reached_told = reached_told - interval '1 month'"
    )
    await database.execute("update notices set at = at - interval '1 month'")
    await watch.look()
    assert await told(database) == ["budget.near", "budget.reached", "budget.reached"]


async def test_a_budget_that_is_raised_lets_wakes_go_at_once(
    budgets: Budgets, database: Any
) -> None:
    await hours(database, 200)
    await budgets.set("acme", Decimal(10), refuses=True, actor="shell:ann")
    await BudgetWatch(database, PRICES).look()
    assert (await budgets.all())[0].reached
    raised = await budgets.set("acme", Decimal(100), refuses=True, actor="shell:ann")
    assert not raised.reached
    assert (await budgets.set("acme", Decimal(20), refuses=True, actor="shell:ann")).reached


async def test_one_router_counts_for_all(budgets: Budgets, database: Any) -> None:
    await hours(database, 200)
    await budgets.set("acme", Decimal(10), refuses=True, actor="shell:ann")
    watch = BudgetWatch(database, PRICES)
    await watch.look(60.0)
    await database.execute("update budgets set counted_at = null")
    await BudgetWatch(database, PRICES).look(60.0)
    assert (await budgets.all())[0].counted_at is None


async def test_another_orgs_money_is_not_counted(budgets: Budgets, database: Any) -> None:
    await hours(database, 200)
    await budgets.set("globex", Decimal(10), refuses=True, actor="shell:ann")
    await BudgetWatch(database, PRICES).look()
    assert (await budgets.all())[0].spent == 0


async def test_what_is_not_there(budgets: Budgets) -> None:
    with pytest.raises(UnknownOrg):
        await budgets.set("nobody", Decimal(10), refuses=True, actor="shell:ann")
    with pytest.raises(UnknownOrg):
        await budgets.remove("nobody")
    assert not await budgets.remove("acme")
    await budgets.set("acme", Decimal(10), refuses=True, actor="shell:ann")
    assert await budgets.remove("acme")
    assert await budgets.all() == []
