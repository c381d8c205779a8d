"""A group whose commands are imported when they are run: `--help` takes no time."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from torpor_router.cli.failures import Commands


class Elsewhere(NamedTuple):
    """Where a command is defined, and what a list of commands says of it."""

    module: str
    name: str
    help: str


class LazyCommands(Commands):
    """Knows its commands by name; each module is imported once its command is wanted."""

    def __init__(self, *arguments: Any, elsewhere: Mapping[str, Elsewhere], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._elsewhere = elsewhere

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._elsewhere, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self._elsewhere.get(cmd_name)
        if found is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(found.module), found.name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, found.help) for name, found in self._elsewhere.items()])
