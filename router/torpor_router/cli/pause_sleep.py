"""`torpor pause-sleep`."""

from __future__ import annotations

from datetime import timedelta

import click

from torpor_router.cli.arguments import Duration
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.durations import duration

_ORG = click.option("--org", help="The satellites of this org; else all.")


@click.group(name="pause-sleep")
def pause_sleep() -> None:
    """Keep idle satellites awake for a while, as during work on the cloud.

    What is asked for by name still sleeps ('satellite sleep').
    """


@pause_sleep.command(cls=OperatorCommand)
@_ORG
@click.option(
    "--for", "lasts", type=Duration(), required=True, help="7d at most; it ends by itself."
)
@click.option("--reason", required=True, help="Shown to those who ask why it is awake.")
@with_deployment
@with_output
def on(
    *, org: str | None, lasts: timedelta, reason: str, output: Output, deployment: Deployment
) -> None:
    """Pause sleep from now on. A pause of before is replaced."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        made = client.pause_sleep(org or "", lasts, reason)
    output.answer(
        made,
        f"Nothing idle is put to sleep {_of(org)}, until {made.until:%Y-%m-%d %H:%M:%SZ}.",
    )


@pause_sleep.command(cls=OperatorCommand)
@_ORG
@with_deployment
@with_output
def off(*, org: str | None, output: Output, deployment: Deployment) -> None:
    """End a pause. What has been idle for long enough is put to sleep at once."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        ended = client.resume_sleep(org or "")
    text = f"Sleep goes on {_of(org)}." if ended else f"Sleep was not paused {_of(org)}."
    output.answer({"org": org, "ended": ended}, text)


@pause_sleep.command(cls=OperatorCommand)
@with_deployment
@with_output
def ls(output: Output, deployment: Deployment) -> None:
    """List the pauses that last."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        pauses = client.pauses()
    if output.as_json:
        output.json(pauses)
        return
    output.table(
        ["of", "for another", Column("by", wraps=True), Column("reason", wraps=True)],
        [
            (each.org or "every org", duration(each.until - each.read_at), each.actor, each.reason)
            for each in pauses
        ],
        empty="Sleep is not paused.",
    )


def _of(org: str | None) -> str:
    return f"of {org}" if org else "of any org"
