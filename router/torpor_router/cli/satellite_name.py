"""The argument NAME of the commands: which satellite, where it may be left out and is completed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from torpor_provisioner.errors import TorporError
from torpor_router.cli.connection import Target, target_of
from torpor_router.cli.contexts.errors import NoSatelliteSelected

_Command = TypeVar("_Command", bound=Callable[..., Any])
COMPLETED_WITHIN = 2.0  # seconds; a shell that completes waits for it


def known_names(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The names of the org's satellites that begin so, for a shell; nothing where none is had."""
    from torpor_router.cli.client import Client

    try:
        with Client(target_of(context, context.params), within=COMPLETED_WITHIN) as client:
            found = client.satellites()
    except (TorporError, click.ClickException, OSError):
        return []
    return [
        CompletionItem(each.name, help=str(each.state or ""))
        for each in found
        if each.name.startswith(begun)
    ]


written_name = click.argument("name", shell_complete=known_names)


def named(command: _Command) -> _Command:
    """Give a command `name`: the one written, or TORPOR_SATELLITE, or the one that is selected.

    Raises:
        NoSatelliteSelected: there is none of these.
    """

    @click.argument("name", required=False, envvar="TORPOR_SATELLITE", shell_complete=known_names)
    @functools.wraps(command)
    def wrapped(*arguments: Any, name: str | None, target: Target, **options: Any) -> Any:
        return command(*arguments, name=name or selected(target), target=target, **options)

    return wrapped  # type: ignore[return-value]  # click replaces the signature anyway


def selected(target: Target) -> str:
    """
    Raises:
        NoSatelliteSelected
    """
    context = target.choice.context
    if context is None or not context.satellite:
        raise NoSatelliteSelected
    return context.satellite
