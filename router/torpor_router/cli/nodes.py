"""`torpor nodes` and `torpor drain`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.interrupting import goes_on
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.durations import duration

if TYPE_CHECKING:
    from torpor_router.cli.operator_client import OperatorClient
    from torpor_statemachine.store.node_list import NodeSeen

_LOOK = 1.0  # seconds between two looks at a node that drains


@click.group()
def nodes() -> None:
    """Look at the routers' processes, which are called nodes."""


@nodes.command(cls=OperatorCommand)
@with_deployment
@with_output
def ls(output: Output, deployment: Deployment) -> None:
    """List the nodes, as of the last heartbeat of each."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        found = client.nodes()
    if output.as_json:
        output.json(found)
        return
    output.table(
        [
            *("node", Column("listens", wraps=True), "version", "up", "state"),
            *(Column("leases", right=True), Column("streams", right=True)),
            Column("lag", right=True),
        ],
        [
            (
                *(str(each.id)[:8], each.listens, each.version, duration(each.up), each.state),
                *(each.leases, _or_dash(each.streams), _milliseconds(each.lag)),
            )
            for each in found
        ],
        empty="No node is there.",
    )


@click.command(cls=OperatorCommand)
@click.argument("node")
@click.option("--end", is_flag=True, help="Let its process end when it has drained.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it has.")
@with_deployment
@with_output
def drain(*, node: str, end: bool, wait: bool, output: Output, deployment: Deployment) -> None:
    """Drain NODE, named by the beginning of its id ('torpor nodes ls').

    As SIGTERM does: it takes no new connection, open streams end, clients reconnect elsewhere. Its
    process stays, and looks after sleeping satellites, unless --end. Interrupting the command
    stops nothing.
    """
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        seen = client.drain(node, end=end)
        try:
            if wait:
                seen = _drained(client, seen)
        except KeyboardInterrupt:
            output.remark(goes_on("torpor nodes ls"))
            raise
    outcome = "drains" if seen.state == "draining" and not wait else "has drained"
    if seen.state == "silent":
        outcome = "is not heard of any more"
    output.answer(seen, f"{str(seen.id)[:8]} {outcome}.")


def _drained(client: OperatorClient, seen: NodeSeen) -> NodeSeen:
    """Wait for it; the node as it was seen last."""
    while seen.state == "draining":
        time.sleep(_LOOK)
        still = [each for each in client.nodes() if each.id == seen.id]
        if not still:  # ended already
            break
        [seen] = still
    return seen


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1_000:.0f}ms"
