"""`torpor limit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from torpor_router.cli.connection import Command
from torpor_router.cli.deployment import Deployment, with_deployment
from torpor_router.cli.output import Column, Output, with_output

if TYPE_CHECKING:
    from torpor_statemachine.store.limits import OrgLimits

Function = TypeVar("Function", bound=Callable[..., Any])
_NONE = "none"


def _limit(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == _NONE:
        return value
    if not value.isdecimal() or len(value) > 9:
        raise click.BadParameter(f"{value!r} is no whole number, nor 'none'")
    return int(value)


def _option(name: str, what: str) -> Callable[[Function], Function]:
    return click.option(name, callback=_limit, metavar="N|none", help=what)


@click.group()
def limit() -> None:
    """Limit what an org's satellites may cost."""


@limit.command(name="set", cls=Command)
@click.argument("org")
@_option("--machines", "Satellites that it may have.")
@_option("--awake", "Satellites that may be awake at once.")
@_option("--wakes-per-hour", "How often one satellite may be woken in an hour.")
@with_deployment
@with_output
def set_(org: str, *, output: Output, deployment: Deployment, **wanted: int | str | None) -> None:
    """Limit an org from the next launch or wake on; 'none' takes a limit away.

    What is not given stays. Nothing that is awake is put to sleep; a request that needs a wake
    beyond the limit is refused with TPR-2050.
    """
    from torpor_router.cli.operator_client import OperatorClient

    changed = {
        name: None if value == _NONE else int(value)
        for name, value in wanted.items()
        if value is not None
    }
    if not changed:
        raise click.UsageError("nothing to limit: give --machines, --awake or --wakes-per-hour")
    with deployment.client(OperatorClient) as client:
        made = client.set_limits(org, changed)
    output.answer(made, f"{org}: {_said(made)}.")


@limit.command(cls=Command)
@click.argument("org")
@with_deployment
@with_output
def rm(org: str, *, output: Output, deployment: Deployment) -> None:
    """Take all of an org's limits away."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        removed = client.remove_limits(org)
    text = f"{org} has no limits any more." if removed else f"{org} had no limits."
    output.answer({"org": org, "removed": removed}, text)


@limit.command(cls=Command)
@with_deployment
@with_output
def ls(output: Output, deployment: Deployment) -> None:
    """List the limits, and what each org has now."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        found = client.limits()
    if output.as_json:
        output.json(found)
        return
    output.table(
        ["org", "machines", "awake", "wakes per hour", Column("set by", wraps=True)],
        [
            (
                each.org,
                _of(each.machines_now, each.machines),
                _of(each.awake_now, each.awake),
                "-" if each.wakes_per_hour is None else each.wakes_per_hour,
                each.set_by,
            )
            for each in found
        ],
        empty="No org has limits.",
    )


def _said(made: OrgLimits) -> str:
    words = {"satellites": made.machines, "awake at once": made.awake}
    said = [f"{most} {what}" for what, most in words.items() if most is not None]
    if made.wakes_per_hour is not None:
        said.append(f"{made.wakes_per_hour} wakes of a satellite in an hour")
    return f"at most {', '.join(said)}" if said else "no limits"


def _of(there: int, most: int | None) -> str:
    return f"{there} of {most}" if most is not None else str(there)
