"""The commands of `satellite` that look, and change nothing."""

from __future__ import annotations

import time
from datetime import timedelta

import click

from torpor_provisioner.errors import Status
from torpor_router.cli.arguments import Duration
from torpor_router.cli.connection import Target
from torpor_router.cli.failures import Failed
from torpor_router.cli.output import Output
from torpor_router.cli.owner import answer, client_of, command, labels
from torpor_router.cli.satellite_name import named
from torpor_statemachine.lifecycle.states import State

SHOWN_STEPS = 5  # of the log, in `inspect`
WATCH = 2.0  # seconds between two looks of `ls --watch`


@command(
    "ls",
    """
    satellite ls --json
    satellite ls --state asleep --label team=web
    satellite ls --watch
    """,
)
@click.option(
    "--state",
    "states",
    type=click.Choice([str(state) for state in State if state is not State.TERMINATED]),
    multiple=True,
    help="Only those in this state; may be repeated.",
)
@labels("Only those with this label; may be repeated.")
@click.option("--watch", is_flag=True, help="Print the list anew when it has changed.")
def ls(
    *,
    states: tuple[str, ...],
    labels: dict[str, str],
    watch: bool,
    target: Target,
    output: Output,
) -> None:
    """List your org's satellites."""
    from torpor_router.cli.describe import LIST, listed, without_ages

    shown = None
    with client_of(target) as client:
        while True:
            satellites = client.satellites(states=map(State, states), labels=labels)
            if without_ages(satellites) != shown:
                if shown is not None and not output.as_json:
                    output.say("")
                shown = without_ages(satellites)
                if output.as_json:
                    (output.line if watch else output.json)(satellites)
                else:
                    empty = "No satellites; 'satellite launch NAME' makes one."
                    if states or labels:
                        empty = "No such satellites."
                    output.table(LIST, map(listed, satellites), empty=empty)
            if not watch:
                return
            time.sleep(WATCH)


@command("why", "satellite why one")
@named
def why(name: str, *, target: Target, output: Output) -> None:
    """Say why a satellite is awake or asleep.

    Whose streams keep it awake, since when and until when; or who put it to sleep, which wake
    comes next and how long that usually takes.
    """
    from torpor_router.cli.describe import tell_why

    with client_of(target) as client:
        summary, satellite = client.explain(name)
    tell_why(summary, satellite, output)


@command("wait", "satellite wait one --for asleep --timeout 45m")
@named
@click.option(
    "--for",
    "goal",
    type=click.Choice(["running", "asleep", "gone"]),
    default="running",
    show_default=True,
    help="What to wait for.",
)
@click.option("--timeout", type=Duration(), metavar="TIME", help="For so long at most: 90s, 2m.")
def wait(
    name: str, *, goal: str, timeout: timedelta | None, target: Target, output: Output
) -> None:
    """Wait until a satellite is in a state. Wakes nothing, and puts nothing to sleep.

    Exit code 4 if that takes longer than --timeout.
    """
    from torpor_router.cli.follow import until_reached, until_the_end

    try:
        with client_of(target) as client:
            satellite = until_the_end(until_reached(client, name, goal, timeout), output)
    except Failed as failed:
        if goal != "gone" or failed.failure.status is not Status.NOT_FOUND:
            raise
        output.answer({"name": name, "state": State.TERMINATED}, f"{name} is gone")
        return
    answer(satellite, output)


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
    from torpor_router.cli.describe import tell_inspected

    with client_of(target) as client:
        satellite = client.get(name)
        log = client.transitions(name, limit=SHOWN_STEPS)
    tell_inspected(satellite, log, output)


@command("history", "satellite history one --limit 200")
@named
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)
def history(name: str, *, limit: int, target: Target, output: Output) -> None:
    """Show what happened to a satellite.

    The transitions log, newest first: who woke it, why it slept, and how long that took.
    """
    from torpor_router.cli.describe import tell_history

    with client_of(target) as client:
        log = client.transitions(name, limit=limit)
    tell_history(log, output)


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
