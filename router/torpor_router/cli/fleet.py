"""`torpor fleet`: every org's satellites."""

from __future__ import annotations

import click

from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.fleet_verbs import history, inspect, rm, sleep, wake, why
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.strays import adopt, end, strays
from torpor_router.durations import ago
from torpor_statemachine.lifecycle.states import State


@click.group()
def fleet() -> None:
    """Look after every org's satellites; 'satellite' is for those who own them."""


@fleet.command(cls=OperatorCommand)
@click.option("--org", help="Of this org only.")
@click.option(
    "--state", type=click.Choice([state.value for state in State]), help="In this state only."
)
@click.option("--all", "all_", is_flag=True, help="The terminated ones, too.")
@with_deployment
@with_output
def ls(
    *, org: str | None, state: str | None, all_: bool, output: Output, deployment: Deployment
) -> None:
    """List satellites, with the nodes that have to do with each and its last failure."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        satellites = client.fleet(org=org or "", state=State(state) if state else None, all_=all_)
    if output.as_json:
        output.json(satellites)
        return
    output.table(
        [
            "satellite",
            "state",
            "for",
            "asleep as",
            "provisioner",
            "nodes",
            Column("failure", wraps=True),
        ],
        [
            (
                *(each.name, each.state, ago(each.state_since, each.seen_at), each.sleep_kind),
                *(each.provisioner, each.nodes, _shortened(each.failure)),
            )
            for each in satellites
        ],
        empty="There are no such satellites.",
    )


for command in (inspect, why, history, wake, sleep, rm, strays, adopt, end):
    fleet.add_command(command)


def _shortened(failure: str | None) -> str:
    if failure is None:
        return ""
    from torpor_statemachine.errors import in_short

    return in_short(failure)
