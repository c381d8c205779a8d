"""`satellite usage`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from torpor_router.cli.connection import Command, Target, with_target
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.usage_table import show_usage, usage_options

if TYPE_CHECKING:
    from torpor_router.control.v1.usage_pb2 import UsageLine


@click.command(cls=Command)
@usage_options(("satellite", "size", "day"))
@with_target
@with_output
def usage(*, first: str, last: str, by: str, as_csv: bool, target: Target, output: Output) -> None:
    """Show hours awake and asleep, wakes, and what they cost; days are days in UTC.

    \b
    For example:
      satellite usage
      satellite usage --from 2026-10-01 --to 2026-10-31 --by day --csv
    """
    from torpor_router.cli.client import Client

    with Client(target) as client:
        report = client.usage(first, last, by)
    show_usage(
        output,
        (report.first_day, report.last_day),
        report.currency,
        [_fields(line) for line in report.lines],
        _fields(report.total),
        as_csv=as_csv,
        without_prices="What it cost is not known: the routers were given no prices.",
    )


def _fields(line: UsageLine) -> dict[str, Any]:
    return {field.name: getattr(line, field.name) for field in line.DESCRIPTOR.fields}
