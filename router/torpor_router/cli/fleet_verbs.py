"""`torpor fleet inspect`, `why`, `history`, `wake`, `sleep` and `rm`: of any org's satellite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from torpor_router.cli.confirmation import confirm
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.follow import so_far, until_ended, until_the_end
from torpor_router.cli.output import Output, with_output
from torpor_router.errors import BadSatelliteName
from torpor_statemachine.lifecycle.states import State

if TYPE_CHECKING:
    from torpor_router.cli.client import Client
    from torpor_router.control.messages import ProgressView

SHOWN_STEPS = 5  # of the log, in `inspect`
_NAME = click.argument("name", metavar="ORG/NAME")
_WAIT = click.option("--wait/--no-wait", default=True, show_default=True, help="Until it is done.")


@click.command(cls=OperatorCommand)
@_NAME
@with_deployment
@with_output
def inspect(name: str, output: Output, deployment: Deployment) -> None:
    """Show one satellite, and why it is awake or asleep."""
    from torpor_router.cli.client import Client
    from torpor_router.cli.describe import tell_inspected

    org, name = _split(name)
    with deployment.client(Client, org) as client:
        satellite, log = client.get(name), client.transitions(name, SHOWN_STEPS)
    tell_inspected(satellite, log, output)


@click.command(cls=OperatorCommand)
@_NAME
@with_deployment
@with_output
def why(name: str, output: Output, deployment: Deployment) -> None:
    """Say why a satellite is awake or asleep, as 'satellite why' does."""
    from torpor_router.cli.client import Client
    from torpor_router.cli.describe import tell_why

    org, name = _split(name)
    with deployment.client(Client, org) as client:
        summary, satellite = client.explain(name)
    tell_why(summary, satellite, output)


@click.command(cls=OperatorCommand)
@_NAME
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)
@with_deployment
@with_output
def history(*, name: str, limit: int, output: Output, deployment: Deployment) -> None:
    """Show what happened to a satellite, the newest first."""
    from torpor_router.cli.client import Client
    from torpor_router.cli.describe import tell_history

    org, name = _split(name)
    with deployment.client(Client, org) as client:
        log = client.transitions(name, limit)
    tell_history(log, output)


@click.command(cls=OperatorCommand)
@_NAME
@_WAIT
@with_deployment
@with_output
def wake(*, name: str, wait: bool, output: Output, deployment: Deployment) -> None:
    """Wake a satellite. Interrupting the command stops nothing."""

    def views(client: Client, name: str) -> Iterator[ProgressView]:
        return so_far(client.wake(name), wait=wait)

    _change(deployment, name, views, output)


@click.command(cls=OperatorCommand)
@_NAME
@click.option("--force", is_flag=True, help="Although builds run on it; they are ended.")
@_WAIT
@with_deployment
@with_output
def sleep(*, name: str, force: bool, wait: bool, output: Output, deployment: Deployment) -> None:
    """Put a satellite to sleep. Refused while builds run on it."""

    def views(client: Client, name: str) -> Iterator[ProgressView]:
        return so_far(client.sleep(name, force=force), wait=wait)

    _change(deployment, name, views, output)


@click.command(cls=OperatorCommand)
@_NAME
@click.option("--force", is_flag=True, help="Although builds run on it, or it is launching.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_WAIT
@with_deployment
@with_output
def rm(
    *, name: str, force: bool, yes: bool, wait: bool, output: Output, deployment: Deployment
) -> None:
    """End a satellite, its machine and its disk."""
    from torpor_router.cli.client import Client
    from torpor_router.cli.describe import tell_state

    confirm(f"This ends {name!r}, its machine and its disk.", name, yes=yes)
    org, satellite_name = _split(name)
    with deployment.client(Client, org) as client:
        satellite = client.terminate(satellite_name, force=force)
        if wait and satellite.state is not State.TERMINATED:
            satellite = until_the_end(until_ended(client, satellite), output, _shows(org))
    tell_state(satellite, output)


def _change(
    deployment: Deployment,
    full_name: str,
    views: Callable[[Client, str], Iterator[ProgressView]],
    output: Output,
) -> None:
    from torpor_router.cli.client import Client
    from torpor_router.cli.describe import tell_state

    org, name = _split(full_name)
    with deployment.client(Client, org) as client:
        satellite = until_the_end(views(client, name), output, _shows(org))
    tell_state(satellite, output)


def _shows(org: str) -> str:
    return f"torpor fleet inspect {org}/{{name}}"


def _split(full_name: str) -> tuple[str, str]:
    """
    Raises:
        BadSatelliteName: it is not ORG/NAME.
    """
    org, _, name = full_name.partition("/")
    if not (org and name):
        raise BadSatelliteName(f"{full_name[:80]!r} is not ORG/NAME")
    return org, name
