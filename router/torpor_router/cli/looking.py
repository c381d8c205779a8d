"""The commands of `satellite` that look, and change nothing."""

from __future__ import annotations

import click

from torpor_router.cli.connection import Target
from torpor_router.cli.output import Output
from torpor_router.cli.owner import client_of, command
from torpor_router.cli.satellite_name import named

SHOWN_STEPS = 5  # of the log, in `inspect`


@command("ls", "satellite ls --json")
def ls(*, target: Target, output: Output) -> None:
    """List your org's satellites."""
    from torpor_router.cli.describe import LIST, listed

    with client_of(target) as client:
        satellites = client.satellites()
    if output.as_json:
        output.json(satellites)
        return
    output.table(
        LIST, map(listed, satellites), empty="No satellites; 'satellite launch NAME' makes one."
    )


@command("whoami", "satellite whoami")
def whoami(*, target: Target, output: Output) -> None:
    """Show who your credentials say that you are, and what they allow."""
    with client_of(target) as client:
        caller = client.whoami()
    if output.as_json:
        output.json(caller)
        return
    output.record(
        {
            "org": caller.org or "none: an operator names one with --org",
            "caller": caller.caller,
            "may": ", ".join(caller.rights),
            "satellites": ", ".join(caller.satellites) or "all of the org's",
        }
    )


@command("inspect", "satellite inspect one")
@named
def inspect(name: str, *, target: Target, output: Output) -> None:
    """Show one satellite, and why it is awake or asleep."""
    from torpor_router.cli.describe import HISTORY, inspected, remembered

    with client_of(target) as client:
        satellite = client.get(name)
        log = client.transitions(name, limit=SHOWN_STEPS)
    if output.as_json:
        output.json({"satellite": satellite, "transitions": log})
        return
    output.record(inspected(satellite, log))
    output.say("")
    output.table(HISTORY, map(remembered, log), empty="Nothing has happened to it yet.")


@command("history", "satellite history one --limit 200")
@named
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)
def history(name: str, *, limit: int, target: Target, output: Output) -> None:
    """Show what happened to a satellite.

    The transitions log, newest first: who woke it, why it slept, and how long that took.
    """
    from torpor_router.cli.describe import HISTORY, remembered

    with client_of(target) as client:
        log = client.transitions(name, limit=limit)
    if output.as_json:
        output.json(log)
        return
    output.table(HISTORY, map(remembered, log), empty="Nothing has happened to it yet.")


@command("follow", "satellite follow one --json")
@named
def follow(name: str, *, target: Target, output: Output) -> None:
    """Print a satellite's state at each change.

    Begins with the present state, and goes on until the satellite is ended or you interrupt.
    With --json, each line is an object.
    """
    from torpor_router.cli.progress import described

    with client_of(target) as client:
        seen = None
        for view in client.follow(name):
            if view.satellite == seen:
                continue
            seen = view.satellite
            if output.as_json:
                output.line(view)
            else:
                text = f"{described(view)}  {seen.failure or ''}".rstrip()
                output.say(f"{seen.state_since:%Y-%m-%d %H:%M:%SZ}  {text}")
