"""Which deployment an operator's command is about: by a router, or by the database itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from torpor_provisioner.contract import Address
from torpor_router.cli.connection import Command, Target, target_of, with_given
from torpor_router.cli.contexts import file as contexts_file
from torpor_router.cli.contexts.errors import NoHome
from torpor_router.cli.storage import Storage, database_options

if TYPE_CHECKING:
    from torpor_router.cli.client import Client

    _Client = TypeVar("_Client", bound=Client)

_Command = TypeVar("_Command", bound=Callable[..., Any])
_WHICH = (
    "It works by the router of --address or --context, with an operator's token; else on the"
    " database of --database-url or --data, or one in .torpor; else by the router of"
    " TORPOR_ADDRESS, or that you have logged in to."
)
_NOWHERE = Target(Address("", 0), "")


class OperatorCommand(Command):
    """Says after its options which deployment it is about."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(_WHICH)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Reached by a router (`target`), or without one by the database in `storage`."""

    storage: Storage
    target: Target | None = None

    @contextmanager
    def client(self, kind: type[_Client], org: str = "") -> Iterator[_Client]:
        """A client of torpor.v1 of that kind, whose calls are about `org`.

        Raises:
            NoDatabase, NotMigrated, DatabaseAway, …: with what to do about it.
        """
        if self.target is not None:
            with kind(replace(self.target, org=org)) as client:
                yield client
            return
        from torpor_router.cli.database_channel import DatabaseChannel

        with DatabaseChannel(self.storage) as channel:
            yield kind(replace(_NOWHERE, org=org), channel=channel)  # type: ignore[arg-type]


def with_deployment(command: _Command) -> _Command:
    """Give a click command the options that tell a router or a database, and `deployment`."""

    @functools.wraps(command)
    def wrapped(
        *arguments: Any,
        given: dict[str, Any],
        database_url: str | None,
        data: Path,
        **options: Any,
    ) -> Any:
        found = _deployment(Storage(database_url or None, data), given)
        return command(*arguments, deployment=found, **options)

    return with_given(database_options(wrapped), org=False)  # type: ignore[return-value]


def _deployment(storage: Storage, given: dict[str, Any]) -> Deployment:
    """What stands on the command line goes first; then a database that is given, or lies here.

    Raises:
        NoToken, BadFile, click.UsageError: and all of `contexts.errors`.
    """
    context = click.get_current_context()
    router = _written(context, "address", "context")
    if router and _written(context, "database_url", "data"):
        raise click.UsageError("give a router (--address, --context) or its database, not both")
    given_here = context.get_parameter_source("data") is not ParameterSource.DEFAULT
    if not router and (storage.is_here or given_here or not _names_a_router(given)):
        return Deployment(storage)
    return Deployment(storage, target_of(context, given))


def _written(context: click.Context, *options: str) -> bool:
    sources = map(context.get_parameter_source, options)
    return any(source is ParameterSource.COMMANDLINE for source in sources)


def _names_a_router(given: dict[str, Any]) -> bool:
    if given["address"] is not None or given["context"]:
        return True
    try:
        return bool(contexts_file.read().selected)
    except NoHome:
        return False
