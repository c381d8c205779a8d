"""What people write on the command line, read into values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    _Type = click.ParamType[timedelta]
else:
    _Type = click.ParamType  # takes no parameter before click 8.4

_UNITS = ("days", "hours", "minutes", "seconds")
_PARTS = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)


ROLES = click.Choice(("admin", "member", "ci", "viewer"))


class Duration(_Type):
    """A length of time: 90s, 30m, 2h, 1d, or parts from the largest to the smallest: 1h30m."""

    name = "duration"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = _PARTS.fullmatch(value.strip())
        if found is None or not any(found.groups()):
            self.fail(f"{value!r} is no length of time; write 90s, 30m, 2h or 1h30m", param, ctx)
        parts = zip(_UNITS, found.groups(default="0"), strict=True)
        whole = timedelta(**{unit: int(number) for unit, number in parts})
        if not whole:
            self.fail(f"{value!r} is no time at all", param, ctx)
        return whole


def read_settings(
    _: click.Context, parameter: click.Parameter, given: Iterable[str]
) -> dict[str, str]:
    """A callback for --set KEY=VALUE, which may be repeated.

    Raises:
        click.BadParameter: one of them is of another form, or given twice.
    """
    gathered: dict[str, str] = {}
    for each in given:
        key, sign, value = each.partition("=")
        if not key or not sign:
            raise click.BadParameter(f"{each!r} is not of the form KEY=VALUE", param=parameter)
        if key in gathered:
            raise click.BadParameter(f"{key!r} is given twice", param=parameter)
        gathered[key] = value
    return gathered
