"""`torpor fleet strays`, `adopt` and `end`: machines whose satellites are not in the database."""

from __future__ import annotations

import click

from torpor_provisioner.contract import Arch
from torpor_router.cli.confirmation import confirm
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.output import Output, with_output
from torpor_router.durations import ago

_REF = click.argument("ref")


@click.command(cls=OperatorCommand)
@with_deployment
@with_output
def strays(output: Output, deployment: Deployment) -> None:
    """List machines of this deployment whose satellites were never in this database.

    They are another database's, or this one's from before it was restored, or a failover lost
    their rows. They run, and cost, until they are adopted or ended.
    """
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        found = client.strays()
    if output.as_json:
        output.json(found)
        return
    output.table(
        ["machine", "provisioner", "satellite", "generation", "known for", "ending"],
        [
            (
                *(each.ref, each.provisioner, each.satellite_id, each.generation),
                *(ago(each.first_seen, each.read_at), "yes" if each.ending else ""),
            )
            for each in found
        ],
        empty="There are none.",
    )


@click.command(cls=OperatorCommand)
@_REF
@click.argument("org")
@click.argument("name")
@click.option(
    "--arch",
    type=click.Choice([str(arch) for arch in Arch]),
    default=str(Arch.X86_64),
    show_default=True,
    help="What the machine runs.",
)
@with_deployment
@with_output
def adopt(
    *, ref: str, org: str, name: str, arch: str, output: Output, deployment: Deployment
) -> None:
    """Make the stray machine REF the satellite NAME of ORG."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        client.adopt(ref, org, name, Arch(arch))
    output.answer(
        {"ref": ref, "satellite": f"{org}/{name}"},
        f"{ref} is {org}/{name}; the routers look at it within a minute.",
    )


@click.command(cls=OperatorCommand)
@_REF
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_deployment
@with_output
def end(ref: str, *, yes: bool, output: Output, deployment: Deployment) -> None:
    """End the stray machine REF and its disk. A router does so in its next search."""
    confirm(f"This ends {ref!r} and deletes its disk.", ref, yes=yes)
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        client.end_stray(ref)
    output.answer({"ref": ref}, f"{ref} is ended in the routers' next search, within 5 minutes.")
