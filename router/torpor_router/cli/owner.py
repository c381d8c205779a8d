"""What the commands of `satellite` have in common: the group, and how they reach a router.

What needs gRPC is imported by the command that needs it, so that --help comes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from torpor_router.cli.arguments import Duration, read_settings
from torpor_router.cli.connection import Command, Target, with_target
from torpor_router.cli.examples import with_example
from torpor_router.cli.failures import Commands
from torpor_router.cli.output import Output, with_output
from torpor_statemachine.lifecycle.states import SleepMode

if TYPE_CHECKING:
    from torpor_router.cli.access_client import AccessClient
    from torpor_router.cli.client import Client
    from torpor_router.control.messages import SatelliteView


@click.group(cls=Commands, context_settings={"max_content_width": 100})
@click.version_option(package_name="torpor", prog_name="satellite")
def main() -> None:
    """Launch, watch, wake and end your satellites.

    A satellite is a build machine of your own that sleeps while nobody builds. A build wakes it by
    itself; none of these commands is needed for that.

    \b
    Begin with 'satellite login', which keeps the router and your token. CI sets
    TORPOR_ADDRESS and TORPOR_TOKEN instead. NAME may be left out after
    'satellite select NAME'.
    \b
    Exit codes: 0 done, 2 wrong usage, 3 refused, 4 may work later, 1 anything else.
    """


def command(
    name: str, example: str, *, group: click.Group = main
) -> Callable[[Any], click.Command]:
    """A command on the router, with an example at the end of its help."""

    def decorate(function: Any) -> click.Command:
        whole = with_target(with_output(with_example(example)(function)))
        made: click.Command = group.command(name, cls=Command)(whole)
        return made

    return decorate


SIZE = click.option("--size", metavar="SIZE", help="The machine, in the provisioner's own words.")
SLEEP_AFTER = click.option(
    "--sleep-after",
    type=Duration(),
    metavar="TIME",
    help="How long it may be idle before it is put to sleep: 90s, 30m, 1h30m, 2d.",
)
SETTINGS = click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    callback=read_settings,
    help="A setting of the provisioner's; may be repeated.",
)


def labels(what: str) -> Callable[[Any], Any]:
    return click.option(
        "--label", "labels", metavar="KEY=VALUE", multiple=True, callback=read_settings, help=what
    )


def sleep_mode(*, default: str | None) -> Callable[[Any], Any]:
    return click.option(
        "--sleep-mode",
        type=click.Choice([str(mode) for mode in SleepMode]),
        default=default,
        show_default=default is not None,
        help="auto hibernates x86_64 and stops arm64.",
    )


def waits(what: str) -> Callable[[Any], Any]:
    return click.option("--wait/--no-wait", default=True, show_default=True, help=what)


@contextmanager
def client_of(target: Target) -> Iterator[Client]:
    from torpor_router.cli.client import Client

    with Client(target) as client:
        yield client


@contextmanager
def access_client_of(target: Target) -> Iterator[AccessClient]:
    from torpor_router.cli.access_client import AccessClient

    with AccessClient(target) as client:
        yield client


def answer(satellite: SatelliteView, output: Output) -> None:
    from torpor_router.cli.describe import tell_state

    tell_state(satellite, output)
