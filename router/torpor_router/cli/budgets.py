"""`torpor budget`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import actor, note
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.policies.budgets import Budget
    from torpor_statemachine.postgres.pool import Database

    _Type = click.ParamType[Decimal]
else:
    _Type = click.ParamType

_MOST = Decimal(1_000_000_000)
_ORG = click.argument("org")


class Amount(_Type):
    """An amount of money: 250 or 99.50."""

    name = "amount"

    def convert(
        self, value: str | Decimal, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is no amount of money; write 250 or 99.50", param, ctx)
        if not amount.is_finite() or not 0 < amount <= _MOST:
            self.fail(f"{value} is no budget: it must be above 0", param, ctx)
        return amount


@click.group()
def budget() -> None:
    """What each org may spend in a month, by the prices that routers are given (--prices).

    A notice is sent at four fifths of it and when it is reached, once a month. Months are in UTC.
    """


@budget.command(name="set")
@_ORG
@click.argument("amount", type=Amount())
@click.option(
    "--refuse",
    is_flag=True,
    help="Once it is reached, wake and launch nothing; what is awake stays.",
)
@with_storage
@with_output
def change(*, org: str, amount: Decimal, refuse: bool, output: Output, storage: Storage) -> None:
    """Give ORG a budget of AMOUNT a month. One of before is replaced."""

    async def work(database: Database) -> Budget:
        from torpor_router.policies.budgets import Budgets

        made = await Budgets(database).set(org, amount, refuses=refuse, actor=actor())
        after = {"amount": str(amount), "refuses": refuse}
        await note(database, "budget set", org, "", after=after)
        return made

    made = storage.run(work)
    then = "then nothing is woken" if refuse else "then a notice is sent"
    output.answer(made, f"{org} may spend {amount} a month; {then}.")


@budget.command()
@with_storage
@with_output
def ls(output: Output, storage: Storage) -> None:
    """List budgets, with what was spent of each in this month."""

    async def work(database: Database) -> list[Budget]:
        from torpor_router.policies.budgets import Budgets

        return await Budgets(database).all()

    found = storage.run(work)
    if output.as_json:
        output.json(found)
        return
    output.table(
        [
            *("org", Column("budget", right=True), Column("spent", right=True), "month"),
            *("reached", "refuses", Column("counted", wraps=True)),
        ],
        [
            (
                *(each.org, each.amount, _money(each), f"{each.month:%Y-%m}" if each.month else ""),
                *(each.reached, each.refuses, each.counted_at or "never: see --prices"),
            )
            for each in found
        ],
        empty="No org has a budget: torpor budget set ORG AMOUNT",
    )


@budget.command()
@_ORG
@with_storage
@with_output
def rm(org: str, output: Output, storage: Storage) -> None:
    """Let ORG spend without a budget."""

    async def work(database: Database) -> bool:
        from torpor_router.policies.budgets import Budgets

        removed = await Budgets(database).remove(org)
        if removed:
            await note(database, "budget rm", org, "")
        return removed

    removed = storage.run(work)
    text = f"{org} has no budget any more." if removed else f"{org} had no budget."
    output.answer({"org": org, "removed": removed}, text)


def _money(budget: Budget) -> str:
    from torpor_router.usage.report import cents

    return "" if budget.spent is None else f"{cents(budget.spent)} {budget.currency}"
