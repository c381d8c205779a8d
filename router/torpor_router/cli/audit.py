"""`torpor audit`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from torpor_router.cli.access_tables import SINCE, show_acts
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.output import Output, with_output


@click.command(cls=OperatorCommand)
@click.option("--org", help="Of one org, which may be gone; else of all.")
@SINCE
@with_deployment
@with_output
def audit(org: str | None, since: timedelta, output: Output, deployment: Deployment) -> None:
    """Show who changed what, and who was refused for lack of rights; the oldest first.

    With --json, an object a line, for those who ship logs.
    """
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient) as client:
        acts = client.acts(datetime.now(UTC) - since, org or "")
        if output.as_json:
            for act in acts:
                output.line(act)
        else:
            show_acts(output, acts)
