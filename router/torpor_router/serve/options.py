"""An option of `torpor serve` for each limit of the data path and setting of the lifecycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

from torpor_router.limits import Limits
from torpor_router.serve.config import BadConfiguration
from torpor_statemachine.config import SETTINGS, FleetConfig

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Made = TypeVar("_Made", Limits, FleetConfig)
_LIMITS = fields(Limits)


def field_options(command: _Command) -> _Command:
    """Add the options, each called as its field is: `hold_budget` is ``--hold-budget``."""
    for field in reversed((*_LIMITS, *SETTINGS)):
        command = _option(field)(command)
    return command


def limits_from(options: Mapping[str, Any]) -> Limits:
    """The limits among a command's options; the others are left alone.

    Raises:
        BadConfiguration: one of them cannot be meant.
    """
    return _made(Limits, {field.name: options[field.name] for field in _LIMITS})


def fleet_config_from(options: Mapping[str, Any]) -> FleetConfig:
    """The lifecycle's settings among a command's options, and what it shares with the door's.

    Raises:
        BadConfiguration: one of them cannot be meant.
    """
    shared = {name: options[name] for name in ("database_budget", "hibernate_arm64")}
    return _made(FleetConfig, {field.name: options[field.name] for field in SETTINGS} | shared)


def _made(kind: type[_Made], values: dict[str, Any]) -> _Made:
    try:
        return kind(**values)
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
