"""`satellite login` and `logout`."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import Any

import click

from torpor_router.cli.connection import (
    Command,
    Target,
    complete_context,
    completed,
    parse_address,
    read_token,
    tls_of,
    with_given,
)
from torpor_router.cli.contexts import file
from torpor_router.cli.contexts.book import Context
from torpor_router.cli.contexts.errors import NoContext, NoSuchContext
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Output, with_output
from torpor_router.names import DEFAULT_DOOR_PORT, written_address

_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_FILES = ("ca", "client_cert", "client_key")


@click.command(cls=Command)
@with_given
@with_output
@with_example(
    """
    satellite login --address builds.example.com
    satellite login --context play --token-file token.txt
    """
)
@click.pass_context
def login(context: click.Context, *, given: dict[str, Any], output: Output) -> None:
    """Keep a router's address and your token, once the router has accepted both.

    Asks for what is not given. They become a context (named by --context, else after the router's
    host), which is selected; the file is yours alone.
    """
    from torpor_router.cli.client import Client

    name = _checked(given["context"])
    before = file.read().by_name.get(name)
    if not given["address"]:
        given["address"] = _prompted(
            "Router (HOST:PORT)", default=before.address if before else None
        )
        if not given["address"]:
            raise click.UsageError("give --address, or run it on a terminal: it asks there")
    address = parse_address(given["address"])
    written = written_address(address)
    if not (given["token"] or given["token_file"]):
        given["token"] = _prompted("Token", hidden=True)
    if before is not None and before.address == written:
        given = completed(given, replace(before, token=""))
    target = Target(address, read_token(context, given), tls_of(address, given), given["org"])
    with Client(target) as client:
        caller = client.whoami()
    name = name or written.removesuffix(f":{DEFAULT_DOOR_PORT}")
    files = {each: str(given[each].absolute()) if given[each] else "" for each in _FILES}
    kept = Context(
        written,
        target.token,
        given["org"],
        **files,
        tls=None if given["plaintext"] is None else not given["plaintext"],
    )
    with file.changing() as contexts:
        before = contexts.by_name.get(name)
        if before is not None and before.address == written:
            kept = replace(kept, satellite=before.satellite)
        contexts.by_name[name] = kept
        contexts.selected = name
    org = f" of {caller.org}" if caller.org else ""
    output.answer(
        {"context": name, "address": written, "caller": caller.caller, "org": caller.org},
        f"{written} knows you as {caller.caller}{org}.\n"
        f"It is the context {name!r} from now on, kept in {file.place()}.",
    )


@click.command()
@click.argument("name", required=False, metavar="[CONTEXT]", shell_complete=complete_context)
@with_output
@with_example("satellite logout")
def logout(*, name: str | None, output: Output) -> None:
    """Forget the token of the selected context, or of CONTEXT.

    The token itself stays good until an operator revokes it.
    """
    with file.changing() as contexts:
        name = name or contexts.selected
        if not name:
            raise NoContext
        if name not in contexts.by_name:
            raise NoSuchContext(name)
        contexts.by_name[name] = replace(contexts.by_name[name], token="")
    output.answer({"context": name}, f"The token of {name} is forgotten.")


def _checked(name: str | None) -> str:
    if name and not _NAMES.fullmatch(name):
        raise click.BadParameter(
            f"{name!r} is not a word of letters, digits, '.', '_', ':', '-'",
            param_hint="'--context'",
        )
    return name or ""


def _prompted(what: str, *, default: str | None = None, hidden: bool = False) -> str | None:
    """What a person answers; the default where nobody can be asked."""
    if not sys.stdin.isatty():
        return default
    answer: str = click.prompt(what, default=default, hide_input=hidden, err=True)
    return answer.strip()
