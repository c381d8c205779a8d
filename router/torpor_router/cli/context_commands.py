"""`satellite context`, `select` and `unselect`: which router and which satellite, from now on."""

from __future__ import annotations

from dataclasses import replace

import click

from torpor_router.access.roles import Right
from torpor_router.cli.connection import Command, Target, complete_context, with_target
from torpor_router.cli.contexts import file
from torpor_router.cli.contexts.book import Contexts
from torpor_router.cli.contexts.errors import NoContext, NoSuchContext
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.satellite_name import written_name

_NAME = click.argument("name", shell_complete=complete_context)


@click.group()
@with_example("satellite context use work")
def context() -> None:
    """Choose between several routers; 'satellite login' adds one."""


@context.command(name="ls")
@with_output
def list_(*, output: Output) -> None:
    """List your contexts; * stands at the selected one."""
    contexts = file.read()
    if output.as_json:
        output.json(
            [
                {
                    "name": name,
                    "address": each.address,
                    "org": each.org,
                    "satellite": each.satellite,
                    "token": bool(each.token),
                    "selected": name == contexts.selected,
                }
                for name, each in contexts.by_name.items()
            ]
        )
        return
    output.table(
        [Column("name", wraps=True), Column("address", wraps=True), Column("satellite")],
        [
            (f"{'*' if name == contexts.selected else ' '} {name}", each.address, each.satellite)
            for name, each in contexts.by_name.items()
        ],
        empty="No contexts; 'satellite login' makes one.",
    )


@context.command()
@_NAME
@with_output
def use(*, name: str, output: Output) -> None:
    """Select a context, for all commands from now on."""
    with file.changing() as contexts:
        _check(contexts, name)
        contexts.selected = name
        address = contexts.by_name[name].address
    output.answer({"name": name, "address": address}, f"{name} ({address}) is selected.")


@context.command()
@_NAME
@with_output
def rm(*, name: str, output: Output) -> None:
    """Forget a context and its token. The token itself stays good."""
    with file.changing() as contexts:
        _check(contexts, name)
        address = contexts.by_name.pop(name).address
        if contexts.selected == name:
            contexts.selected = ""
    output.answer({"name": name, "address": address}, f"{name} ({address}) is forgotten.")


@click.command(cls=Command)
@written_name
@with_target
@with_output
@with_example("satellite select one")
def select(*, name: str, target: Target, output: Output) -> None:
    """Select a satellite: every command means it where NAME is left out.

    Only 'launch' and 'rm' always want the name. The selection is the context's own.
    """
    from torpor_router.cli.client import Client

    if target.choice.context is None:
        raise NoContext
    with Client(target) as client:
        # A token for builds alone cannot look; it selects by what it was given.
        known = client.get(name).name if client.whoami().may(Right.LOOK) else name
    with file.changing() as contexts:
        _check(contexts, target.choice.name)
        kept = contexts.by_name[target.choice.name]
        contexts.by_name[target.choice.name] = replace(kept, satellite=known)
    output.answer(
        {"context": target.choice.name, "satellite": known},
        f"{known} is selected in {target.choice.name}.",
    )


@click.command(cls=Command)
@with_output
@with_example("satellite unselect")
def unselect(*, output: Output) -> None:
    """Select no satellite, in the selected context."""
    with file.changing() as contexts:
        if not contexts.selected:
            raise NoContext
        _check(contexts, contexts.selected)
        kept = contexts.by_name[contexts.selected]
        contexts.by_name[contexts.selected] = replace(kept, satellite="")
        name = contexts.selected
    output.answer({"context": name, "satellite": ""}, f"No satellite is selected in {name}.")


def _check(contexts: Contexts, name: str) -> None:
    if name not in contexts.by_name:
        raise NoSuchContext(name)
