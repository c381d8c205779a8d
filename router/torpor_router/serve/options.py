"""An option of `torpor serve` for each limit of the data path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

from torpor_router.limits import Limits
from torpor_router.serve.config import BadConfiguration

_Command = TypeVar("_Command", bound=Callable[..., Any])


def limit_options(command: _Command) -> _Command:
    """Add the options, each called as its limit is: `hold_budget` is ``--hold-budget``."""
    for field in reversed(fields(Limits)):
        command = _option(field)(command)
    return command


def limits_from(options: Mapping[str, Any]) -> Limits:
    """The limits among a command's options; the others are left alone.

    Raises:
        BadConfiguration: one of them cannot be meant.
    """
    try:
        return Limits(**{field.name: options[field.name] for field in fields(Limits)})
    except ValueError as error:
        raise BadConfiguration(str(error)) from error


def _option(field: Field[Any]) -> Callable[[_Command], _Command]:
    kind: click.ParamType[Any] = (
        click.FloatRange(min=0, min_open=True)
        if isinstance(field.default, float)
        else click.IntRange(min=1)
    )
    return click.option(
        "--" + field.name.replace("_", "-"),
        field.name,
        type=kind,
        default=field.default,
        metavar=field.metadata["unit"].upper(),
        help=field.metadata["says"],
    )
