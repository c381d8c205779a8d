"""`torpor usage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_router.cli.usage_table import show_usage, usage_options

if TYPE_CHECKING:
    from torpor_statemachine.postgres.pool import Database
    from torpor_statemachine.store.usage import Day


@click.command()
@click.option("--org", help="Of this org only.")
@usage_options(("satellite", "org", "size", "day"))
@click.option(
    "--prices",
    "prices_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="TORPOR_PRICES",
    show_envvar=True,
    help="What an hour costs; see docs/usage.md.",
)
@with_storage
@with_output
def usage(
    *,
    org: str | None,
    first: str,
    last: str,
    by: str,
    prices_file: Path | None,
    as_csv: bool,
    output: Output,
    storage: Storage,
) -> None:
    """Show hours awake and asleep, wakes, and what they cost; days are days in UTC.

    With prices it also tells what machines that are always on would have cost.
    """
    from torpor_router.usage.period import read_period
    from torpor_router.usage.prices import NO_PRICES, read_file
    from torpor_router.usage.report import fields, report

    period = read_period(first, last)
    prices = read_file(prices_file) if prices_file is not None else NO_PRICES

    async def work(database: Database) -> list[Day]:
        from torpor_router.access.checks import check_org
        from torpor_statemachine.store.usage import Usage

        if org is not None:
            await check_org(database, org)
        return await Usage(database).days(*period, org)

    lines, total = report(storage.run(work), prices, by)
    show_usage(
        output,
        (str(period.first), str(period.last)),
        prices.currency,
        [fields(line) for line in lines],
        fields(total),
        as_csv=as_csv,
        without_prices="What it cost: give a file of prices with --prices (docs/usage.md).",
    )
