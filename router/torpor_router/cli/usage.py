"""`torpor usage`."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.usage.prices import Prices
    from torpor_router.usage.report import Line
    from torpor_statemachine.postgres.pool import Database
    from torpor_statemachine.store.usage import Day

_BY = click.Choice(("satellite", "org", "size", "day"))
_DATE = click.DateTime(("%Y-%m-%d",))


@click.command()
@click.option("--org", help="Of this org only.")
@click.option("--from", "first", type=_DATE, metavar="DATE", help="Else the first of this month.")
@click.option("--to", "last", type=_DATE, metavar="DATE", help="This day too; else until now.")
@click.option("--by", type=_BY, default="satellite", show_default=True)
@click.option(
    "--prices",
    "prices_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="TORPOR_PRICES",
    show_envvar=True,
    help="What an hour costs; see docs/usage.md.",
)
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet.")
@with_storage
@with_output
def usage(
    *,
    org: str | None,
    first: datetime | None,
    last: datetime | None,
    by: str,
    prices_file: Path | None,
    as_csv: bool,
    output: Output,
    storage: Storage,
) -> None:
    """Show hours awake and asleep, wakes, and what they cost; days are days in UTC.

    With prices it also tells what machines that are always on would have cost.
    """
    from torpor_router.usage.report import By, report

    if as_csv and output.as_json:
        raise click.UsageError("Give --csv or --json, not both.")
    since, until = _span(first, last)
    prices = _prices(prices_file)

    async def work(database: Database) -> list[Day]:
        from torpor_router.access.checks import check_org
        from torpor_statemachine.store.usage import Usage

        if org is not None:
            await check_org(database, org)
        return await Usage(database).days(since, until, org)

    lines, total = report(storage.run(work), prices, By(by))
    if output.as_json:
        output.json(
            {
                "from": since.isoformat(),
                "to": until.isoformat(),
                "currency": prices.currency,
                "lines": [_fields(line) for line in lines],
                "total": _fields(total),
            }
        )
    elif as_csv:
        output.say(_csv(lines, prices))
    else:
        _show(output, [*lines, total] if lines else [], prices)


def _span(first: datetime | None, last: datetime | None) -> tuple[date, date]:
    today = datetime.now(UTC).date()
    since = first.date() if first is not None else today.replace(day=1)
    until = last.date() if last is not None else today
    if since > until:
        raise click.UsageError(f"--from {since} is after --to {until}.")
    if until - since > timedelta(days=1_200):
        raise click.UsageError("That is more than 1,200 days.")
    return since, until


def _prices(file: Path | None) -> Prices:
    from torpor_router.usage.prices import NONE, read

    if file is None:
        return NONE
    try:
        return read(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(str(error), param_hint="--prices") from error


def _fields(line: Line) -> dict[str, object]:
    """The keys of --json and --csv. Hours and money are decimals in text, which lose nothing."""
    from torpor_router.usage.report import cents

    return {
        "name": line.name,
        "hours_awake": _hours(line.awake),
        "hours_waking": _hours(line.waking),
        "hours_asleep": _hours(line.asleep),
        "hours_failed": _hours(line.failed),
        **{f"wakes_{kind.value}": times for kind, times in line.wakes.items()},
        "streams": line.streams,
        "seconds_held": str(round(line.held, 3)),
        "spent": str(cents(line.spent)),
        "always_on": str(cents(line.always_on)),
        "saved": str(cents(line.saved)),
        "hours_unpriced": _hours(line.unpriced),
    }


def _hours(seconds: Decimal) -> str:
    return str(round(seconds / 3600, 4))


def _csv(lines: list[Line], prices: Prices) -> str:
    text = io.StringIO()
    rows = [{**_fields(line), "currency": prices.currency} for line in lines]
    names = list(rows[0]) if rows else ["name"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _show(output: Output, lines: list[Line], prices: Prices) -> None:
    from torpor_router.usage.report import cents

    priced = bool(prices.currency)
    output.table(
        [
            Column("what", wraps=True),
            *(Column(title, right=True) for title in ("awake", "asleep", "wakes", "streams")),
            *(Column(title, right=True) for title in ("spent", "saved", "of") if priced),
        ],
        [
            (
                line.name,
                *(f"{seconds / 3600:.1f}h" for seconds in (line.awake, line.asleep)),
                sum(line.wakes.values()),
                line.streams,
                *(cents(money) for money in (line.spent, line.saved, line.always_on) if priced),
            )
            for line in lines
        ],
        empty="There was no satellite in that time.",
    )
    if not lines:
        return
    if not priced:
        output.remark("What it cost: give a file of prices with --prices (docs/usage.md).")
        return
    output.remark(f"Money in {prices.currency}; 'of' is what machines always on would have cost.")
    unpriced = lines[-1].unpriced
    if unpriced:
        output.remark(f"{unpriced / 3600:.1f} hours are of sizes without a price, left out of it.")
