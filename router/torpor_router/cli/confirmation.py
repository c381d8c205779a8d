"""Asking for a name before what it names is ended."""

from __future__ import annotations

import sys

import click

from torpor_router.cli.client_errors import NotConfirmed


def confirm(what: str, name: str, *, yes: bool) -> None:
    """Say `what` is lost, and ask for the name. `yes`, for scripts, goes on without asking.

    Raises:
        click.UsageError: there is no terminal to ask on.
        NotConfirmed: another name was typed.
        KeyboardInterrupt: Ctrl-C, or the end of the input.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what} Without a terminal to ask on, confirm it with --yes")
    try:
        typed = click.prompt(f"{what} Type {name!r} to confirm", err=True)
    except click.Abort as error:
        raise KeyboardInterrupt from error
    if typed.strip() != name:
        raise NotConfirmed(f"{typed.strip()[:60]!r} is not {name!r}")
