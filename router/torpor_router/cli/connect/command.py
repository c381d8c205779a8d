"""`satellite connect`."""

from __future__ import annotations

import re
import textwrap
from ipaddress import ip_address

import click

from torpor_router.access.roles import Right
from torpor_router.cli.connect.jobs import JOBS
from torpor_router.cli.connect.recipes import BY_CERTIFICATE, CLIENTS
from torpor_router.cli.connect.way import Recipe, Way
from torpor_router.cli.connection import Target
from torpor_router.cli.output import Output
from torpor_router.cli.owner import client_of, command
from torpor_router.cli.satellite_name import named
from torpor_router.names import is_name

_COLUMNS = 78
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


@command(
    "connect",
    """
    satellite connect one --for buildx
    satellite connect one --for github-actions --client bazel
    """,
)
@named
@click.option(
    "--for",
    "client",
    type=click.Choice([*CLIENTS, *JOBS]),
    required=True,
    help="Whom the recipe is for.",
)
@click.option(
    "--client",
    "inner",
    type=click.Choice([*CLIENTS]),
    default="buildx",
    show_default=True,
    help="What a job of github-actions or gitlab builds with.",
)
@click.option(
    "--domain",
    help="The domain of host names NAME--ORG.DOMAIN. Default: the router's own ('torpor serve"
    " --domain'), or the host of its address.",
)
@click.option(
    "--certificate",
    "prefix",
    metavar="PREFIX",
    default="client",
    show_default=True,
    help="The client certificate: PREFIX.pem and PREFIX.key, as 'satellite certificate' writes"
    " them with --out.",
)
def connect(
    name: str,
    *,
    client: str,
    inner: str,
    domain: str | None,
    prefix: str,
    target: Target,
    output: Output,
) -> None:
    """Print what a build client must be given to reach a satellite.

    Address, header or certificate, TLS name and time-outs, as commands to paste. Your token is not
    printed: recipes read it from TORPOR_TOKEN. Nothing is woken.
    """
    if not is_name(name):
        raise click.BadParameter(f"{name!r} is no name of a satellite", param_hint="'NAME'")
    speaks = inner if client in JOBS else client
    if target.tls is None and speaks in BY_CERTIFICATE:
        raise click.UsageError(
            f"{speaks} shows who you are by a certificate, which needs TLS; this router is"
            " spoken to in plaintext (--tls, if it can be otherwise)"
        )
    org, name, own = _found(target, name)
    way = Way(
        org,
        name,
        target.address,
        _domain(own if domain is None else domain, target, needed=speaks in BY_CERTIFICATE),
        tls=target.tls is not None,
        ca=target.tls.ca_file if target.tls is not None else "",
        prefix=prefix,
    )
    recipe = CLIENTS[speaks](way)
    if client in JOBS:
        recipe = JOBS[client](way, recipe)
    if output.as_json:
        output.json(recipe)
    else:
        output.say(written(recipe))


def written(recipe: Recipe) -> str:
    """The recipe for a person: all of it may be pasted, since notes are comments."""
    server = f", TLS name {recipe.server_name}" if recipe.server_name else ""
    first = f"{recipe.client} to {recipe.satellite}: {recipe.address}{server}"
    notes = "\n".join(
        textwrap.fill(
            note,
            _COLUMNS,
            initial_indent="# ",
            subsequent_indent="#   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for note in (first, *recipe.notes)
    )
    return f"{notes}\n{recipe.commands}"


def _found(target: Target, name: str) -> tuple[str, str, str]:
    """The org, the name and the domain, as the router knows them."""
    with client_of(target) as client:
        caller = client.whoami()
        if not caller.org:
            raise click.UsageError("an operator's token is of no org: name one with --org")
        # A token for builds alone cannot look
        name = client.get(name).name if caller.may(Right.LOOK) else name
        return caller.org, name, caller.domain


def _domain(domain: str, target: Target, *, needed: bool) -> str:
    host = domain.rstrip(".") or target.address.host
    if not needed or (_DOMAIN.fullmatch(host) and not _is_address(host)):
        return host
    if not domain:
        raise click.UsageError(
            f"the router says no domain, and its address, {host}, is none: give one with --domain"
        )
    raise click.BadParameter(f"{domain!r} is no domain", param_hint="'--domain'")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
