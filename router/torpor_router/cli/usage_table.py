"""Usage as `torpor usage` and `satellite usage` show it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import click

from torpor_router.cli.output import Column, Output

Fields = Mapping[str, Any]  # of a line, as `torpor_router.usage.report.fields` has them


class _By(click.Choice[str]):
    """One of the choices, or "label:KEY"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value).startswith("label:"):
            from torpor_router.usage.report import check_grouping

            check_grouping(value)
            return str(value)
        return super().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:  # noqa: ARG002
        return f"[{'|'.join(self.choices)}|label:KEY]"


def usage_options(by: Sequence[str]) -> Callable[[Any], Any]:
    """--from, --to, --by and --csv; `by` is what can have a line."""

    def decorate(command: Any) -> Any:
        for option in (
            click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet."),
            click.option(
                "--by", type=_By(by), default=by[0], show_default=True, help="A line each."
            ),
            click.option(
                "--to", "last", default="", metavar="DATE", help="This day too; else until now."
            ),
            click.option(
                *("--from", "first"),
                default="",
                metavar="DATE",
                help="Like 2026-10-01; else the first of this month.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def show_usage(
    output: Output,
    period: tuple[str, str],
    currency: str,
    lines: Sequence[Fields],
    total: Fields,
    *,
    as_csv: bool,
    without_prices: str,
) -> None:
    """For a person, a program or a spreadsheet; `without_prices` says where to give some."""
    if as_csv and output.as_json:
        raise click.UsageError("Give --csv or --json, not both.")
    if output.as_json:
        first, last = period
        output.json(
            {"from": first, "to": last, "currency": currency, "lines": lines, "total": total}
        )
    elif as_csv:
        output.say(_csv(lines, total, currency))
    else:
        _table(output, lines, total, currency, without_prices)


def _csv(lines: Sequence[Fields], total: Fields, currency: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*total, "currency"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**line, "currency": currency} for line in lines)
    return text.getvalue().rstrip("\n")


def _table(
    output: Output, lines: Sequence[Fields], total: Fields, currency: str, without_prices: str
) -> None:
    money = ("spent", "saved", "always_on") if currency else ()
    output.table(
        [
            Column("what", wraps=True),
            *(Column(title, right=True) for title in ("awake", "asleep", "wakes", "streams")),
            *(Column(title.replace("always_on", "of"), right=True) for title in money),
        ],
        [
            (
                line["name"],
                *(f"{Decimal(line[hours]):.1f}h" for hours in ("hours_awake", "hours_asleep")),
                sum(line[f"wakes_{kind}"] for kind in ("resumed", "started", "launched")),
                line["streams"],
                *(line[amount] for amount in money),
            )
            for line in ([*lines, total] if lines else [])
        ],
        empty="There was no satellite in that time.",
    )
    if not lines:
        return
    if not currency:
        output.remark(without_prices)
        return
    output.remark(f"Money in {currency}; 'of' is what machines always on would have cost.")
    unpriced = Decimal(total["hours_unpriced"])
    if unpriced:
        output.remark(f"{unpriced:.1f} hours are of sizes without a price, left out of it.")
