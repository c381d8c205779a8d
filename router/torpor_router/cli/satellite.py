"""The `satellite` command: for those who own satellites.

What needs gRPC is imported by the command that needs it, so that --help comes at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from torpor_provisioner.contract import Arch
from torpor_router.cli.arguments import Duration, read_settings
from torpor_router.cli.connection import Command, Target, with_target
from torpor_router.cli.context_commands import context, select, unselect
from torpor_router.cli.doctor.command import doctor
from torpor_router.cli.examples import with_example
from torpor_router.cli.failures import Commands
from torpor_router.cli.follow import check, so_far, until_ended, until_settled, until_the_end
from torpor_router.cli.login import login, logout
from torpor_router.cli.org_usage import usage
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.pair_files import OUT, REPLACE, prefixed
from torpor_router.cli.satellite_name import named, written_name
from torpor_statemachine.lifecycle.states import SleepMode, State

if TYPE_CHECKING:
    from torpor_router.cli.client import Client
    from torpor_router.control.messages import SatelliteView

SHOWN_STEPS = 5  # of the log, in `inspect`


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


for _each in (login, logout, context, select, unselect, doctor, usage):
    main.add_command(_each)


def _command(name: str, example: str) -> Callable[[Any], click.Command]:
    """A command on the router, with an example at the end of its help."""

    def decorate(function: Any) -> click.Command:
        whole = with_target(with_output(with_example(example)(function)))
        command: click.Command = main.command(name, cls=Command)(whole)
        return command

    return decorate


_SIZE = click.option("--size", metavar="SIZE", help="The machine, in the provisioner's own words.")
_SLEEP_AFTER = click.option(
    "--sleep-after",
    type=Duration(),
    metavar="TIME",
    help="How long it may be idle before it is put to sleep: 90s, 30m, 1h30m, 2d.",
)
_SETTINGS = click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    callback=read_settings,
    help="A setting of the provisioner's; may be repeated.",
)


def _sleep_mode(*, default: str | None) -> Callable[[Any], Any]:
    return click.option(
        "--sleep-mode",
        type=click.Choice([str(mode) for mode in SleepMode]),
        default=default,
        show_default=default is not None,
        help="auto hibernates x86_64 and stops arm64.",
    )


def _wait(what: str) -> Callable[[Any], Any]:
    return click.option("--wait/--no-wait", default=True, show_default=True, help=what)


@_command(
    "launch",
    """
    satellite launch one
    satellite launch big --arch arm64 --size m7g.4xlarge --sleep-after 2h
    """,
)
@written_name
@click.option(
    "--arch",
    type=click.Choice([str(arch) for arch in Arch]),
    default=str(Arch.X86_64),
    show_default=True,
    help="What the machine runs.",
)
@_SIZE
@_sleep_mode(default=str(SleepMode.AUTO))
@_SLEEP_AFTER
@click.option("--provisioner", default="", metavar="NAME", help="Default: the router's own.")
@_SETTINGS
@_wait("Wait until it runs.")
def launch(
    name: str,
    *,
    arch: str,
    size: str | None,
    sleep_mode: str,
    sleep_after: timedelta | None,
    provisioner: str,
    settings: dict[str, str],
    wait: bool,
    target: Target,
    output: Output,
) -> None:
    """Launch a satellite called NAME.

    Interrupting the command stops nothing: the launch goes on.
    """
    with _client(target) as client:
        satellite = client.launch(
            name,
            provisioner=provisioner,
            arch=Arch(arch),
            size=size or "",
            sleep_mode=SleepMode(sleep_mode),
            sleep_after=sleep_after,
            settings=settings,
        )
        if wait:
            satellite = until_the_end(client.wake(name), output)
    _answer(satellite, output)


@_command("ls", "satellite ls --json")
def ls(*, target: Target, output: Output) -> None:
    """List your org's satellites."""
    from torpor_router.cli.describe import LIST, listed

    with _client(target) as client:
        satellites = client.satellites()
    if output.as_json:
        output.json(satellites)
        return
    output.table(
        LIST, map(listed, satellites), empty="No satellites; 'satellite launch NAME' makes one."
    )


@_command("certificate", "satellite certificate --for 12h --out ~/.torpor/client --replace")
@click.argument("name", required=False)
@click.option(
    "--for", "lives", type=Duration(), metavar="TIME", help="1d unless said; 90d at most."
)
@click.option(
    "--out",
    type=OUT,
    default="client",
    show_default=True,
    metavar="PREFIX",
    help="Writes PREFIX.pem and PREFIX.key.",
)
@REPLACE
def certificate(
    name: str | None,
    *,
    lives: timedelta | None,
    out: Path,
    replace: bool,
    target: Target,
    output: Output,
) -> None:
    """Get a client certificate for builds: for satellite NAME, or all that the token is for.

    It may do what the token may and no more, and ends with it. Its key is made here and stays here.
    """
    from torpor_router.access.ca.requests import new_request
    from torpor_router.cli.ca import issued

    files = prefixed(out)
    files.check(replace=replace)
    key, request = new_request("torpor")
    with _client(target) as client:
        reply = client.certificate(request, name or "", lives)
    files.write(reply.certificate, key)
    ends = reply.expires_at.ToDatetime(UTC)
    output.answer(*issued(reply.serial, reply.subject, ends, files.certificate, files.key))


@_command("whoami", "satellite whoami")
def whoami(*, target: Target, output: Output) -> None:
    """Show who your credentials say that you are, and what they allow."""
    with _client(target) as client:
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


@_command("inspect", "satellite inspect one")
@named
def inspect(name: str, *, target: Target, output: Output) -> None:
    """Show one satellite, and why it is awake or asleep."""
    from torpor_router.cli.describe import HISTORY, inspected, remembered

    with _client(target) as client:
        satellite = client.get(name)
        log = client.transitions(name, limit=SHOWN_STEPS)
    if output.as_json:
        output.json({"satellite": satellite, "transitions": log})
        return
    output.record(inspected(satellite, log))
    output.say("")
    output.table(HISTORY, map(remembered, log), empty="Nothing has happened to it yet.")


@_command("history", "satellite history one --limit 200")
@named
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)
def history(name: str, *, limit: int, target: Target, output: Output) -> None:
    """Show what happened to a satellite.

    The transitions log, newest first: who woke it, why it slept, and how long that took.
    """
    from torpor_router.cli.describe import HISTORY, remembered

    with _client(target) as client:
        log = client.transitions(name, limit=limit)
    if output.as_json:
        output.json(log)
        return
    output.table(HISTORY, map(remembered, log), empty="Nothing has happened to it yet.")


@_command(
    "wake",
    """
    satellite wake one
    satellite wake one --no-wait
    """,
)
@named
@_wait("Wait until it runs.")
def wake(name: str, *, wait: bool, target: Target, output: Output) -> None:
    """Wake a satellite, ahead of the first build.

    Interrupting the command stops nothing: the wake goes on.
    """
    with _client(target) as client:
        satellite = until_the_end(so_far(client.wake(name), wait=wait), output)
    _answer(satellite, output)


@_command("sleep", "satellite sleep one")
@named
@click.option("--force", is_flag=True, help="Although builds run on it; they are told by whom.")
@_wait("Wait until it is asleep.")
def sleep(name: str, *, force: bool, wait: bool, target: Target, output: Output) -> None:
    """Put a satellite to sleep. Refused while builds run on it."""
    with _client(target) as client:
        satellite = until_the_end(so_far(client.sleep(name, force=force), wait=wait), output)
    _answer(satellite, output)


@_command(
    "update",
    """
    satellite update one --sleep-after 2h
    satellite update one --size m7i.2xlarge
    """,
)
@named
@_SIZE
@_sleep_mode(default=None)
@_SLEEP_AFTER
@_SETTINGS
@_wait("Wait until it is done.")
def update(
    name: str,
    *,
    size: str | None,
    sleep_mode: str | None,
    sleep_after: timedelta | None,
    settings: dict[str, str],
    wait: bool,
    target: Target,
    output: Output,
) -> None:
    """Change a satellite.

    Its size and settings reach the machine while it is stopped: an idle one is stopped for it, a
    hibernated one woken for a moment and stopped. Where builds run, it waits for the next sleep.
    The rest holds at once. --set KEY= removes a setting.
    """
    if size is None and sleep_mode is None and sleep_after is None and not settings:
        raise click.UsageError("nothing to change: give --size, --sleep-mode, --sleep-after, --set")
    with _client(target) as client:
        satellite = client.update(
            name,
            size=size,
            sleep_mode=SleepMode(sleep_mode) if sleep_mode else None,
            sleep_after=sleep_after,
            settings=settings,
        )
        if wait and satellite.change_pending:
            satellite = until_the_end(until_settled(client.follow(name)), output)
            check(satellite)
    _answer(satellite, output)


@_command("repair", "satellite repair one")
@named
@_wait("Wait until it runs.")
def repair(name: str, *, wait: bool, target: Target, output: Output) -> None:
    """Give a failed satellite a new machine.

    It keeps its name; what was on its disk is lost.
    """
    with _client(target) as client:
        satellite = client.repair(name)
        if wait:
            satellite = until_the_end(client.wake(name), output)
    _answer(satellite, output)


@_command(
    "rm",
    """
    satellite rm one
    satellite rm one --force --yes
    """,
)
@written_name
@click.option(
    "--force",
    is_flag=True,
    help="Although builds run on it (they are told by whom), or it is launching.",
)
@click.option("--yes", is_flag=True, help="Do not ask; on a terminal, it is asked otherwise.")
@_wait("Wait until its machine is gone.")
def rm(name: str, *, force: bool, yes: bool, wait: bool, target: Target, output: Output) -> None:
    """End a satellite, its machine and its disk."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"End {name!r} and delete its disk?", abort=True, err=True)
    with _client(target) as client:
        satellite = client.terminate(name, force=force)
        if wait and satellite.state is not State.TERMINATED:
            satellite = until_the_end(until_ended(client, satellite), output)
            check(satellite)
    _answer(satellite, output)


@_command("follow", "satellite follow one --json")
@named
def follow(name: str, *, target: Target, output: Output) -> None:
    """Print a satellite's state at each change.

    Begins with the present state, and goes on until the satellite is ended or you interrupt.
    With --json, each line is an object.
    """
    from torpor_router.cli.progress import described

    with _client(target) as client:
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


@contextmanager
def _client(target: Target) -> Iterator[Client]:
    from torpor_router.cli.client import Client

    with Client(target) as client:
        yield client


def _answer(satellite: SatelliteView, output: Output) -> None:
    if output.as_json:
        output.json(satellite)
        return
    from torpor_router.cli.describe import settled

    text = settled(satellite)
    state = f"{satellite.state} ({text})" if text else f"{satellite.state}"
    output.say(f"{satellite.org}/{satellite.name} is {state}")


if __name__ == "__main__":
    main()
