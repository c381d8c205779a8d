"""The commands of `satellite` that change one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from torpor_provisioner.contract import Arch
from torpor_router.cli.confirmation import confirm
from torpor_router.cli.connection import Target
from torpor_router.cli.follow import check, so_far, until_ended, until_settled, until_the_end
from torpor_router.cli.output import Output
from torpor_router.cli.owner import (
    SETTINGS,
    SIZE,
    SLEEP_AFTER,
    answer,
    client_of,
    command,
    labels,
    sleep_mode,
    waits,
)
from torpor_router.cli.satellite_name import named, written_name
from torpor_statemachine.lifecycle.states import SleepMode, State

if TYPE_CHECKING:
    from torpor_router.cli.client import Client
    from torpor_router.control.messages import SatelliteView


@command(
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
@SIZE
@sleep_mode(default=str(SleepMode.AUTO))
@SLEEP_AFTER
@click.option("--provisioner", default="", metavar="NAME", help="Default: the router's own.")
@SETTINGS
@labels("A label of your own, to choose by; may be repeated.")
@waits("Wait until it runs.")
def launch(
    name: str,
    *,
    arch: str,
    size: str | None,
    sleep_mode: str,
    sleep_after: timedelta | None,
    provisioner: str,
    settings: dict[str, str],
    labels: dict[str, str],
    wait: bool,
    target: Target,
    output: Output,
) -> None:
    """Launch a satellite called NAME.

    Interrupting the command stops nothing: the launch goes on.
    """
    with client_of(target) as client:
        satellite = client.launch(
            name,
            provisioner=provisioner,
            arch=Arch(arch),
            size=size or "",
            sleep_mode=SleepMode(sleep_mode),
            sleep_after=sleep_after,
            settings=settings,
            labels=labels,
        )
        if wait:
            satellite = until_the_end(client.wake(name), output)
    answer(satellite, output)


@command(
    "wake",
    """
    satellite wake one
    satellite wake one --no-wait
    """,
)
@named
@waits("Wait until it runs.")
def wake(name: str, *, wait: bool, target: Target, output: Output) -> None:
    """Wake a satellite, ahead of the first build.

    Interrupting the command stops nothing: the wake goes on.
    """
    with client_of(target) as client:
        satellite = until_the_end(so_far(client.wake(name), wait=wait), output)
    answer(satellite, output)


@command("sleep", "satellite sleep one")
@named
@click.option("--force", is_flag=True, help="Although builds run on it; they are told by whom.")
@waits("Wait until it is asleep.")
def sleep(name: str, *, force: bool, wait: bool, target: Target, output: Output) -> None:
    """Put a satellite to sleep. Refused while builds run on it."""
    with client_of(target) as client:
        satellite = until_the_end(so_far(client.sleep(name, force=force), wait=wait), output)
    answer(satellite, output)


@command(
    "update",
    """
    satellite update one --sleep-after 2h
    satellite update one --size m7i.2xlarge
    """,
)
@named
@SIZE
@sleep_mode(default=None)
@SLEEP_AFTER
@SETTINGS
@labels("A label to set; KEY= removes one. May be repeated.")
@waits("Wait until it is done.")
def update(
    name: str,
    *,
    size: str | None,
    sleep_mode: str | None,
    sleep_after: timedelta | None,
    settings: dict[str, str],
    labels: dict[str, str],
    wait: bool,
    target: Target,
    output: Output,
) -> None:
    """Change a satellite.

    Its size and settings reach the machine while it is stopped: an idle one is stopped for it, a
    hibernated one woken for a moment and stopped. Where builds run, it waits for the next sleep.
    The rest holds at once. --set KEY= removes a setting.
    """
    if size is None and sleep_mode is None and sleep_after is None and not (settings or labels):
        raise click.UsageError(
            "nothing to change: give --size, --sleep-mode, --sleep-after, --set or --label"
        )
    with client_of(target) as client:
        satellite = client.update(
            name,
            size=size,
            sleep_mode=SleepMode(sleep_mode) if sleep_mode else None,
            sleep_after=sleep_after,
            settings=settings,
            labels=labels,
        )
        satellite = _changed(client, satellite, output, wait=wait)
    answer(satellite, output)


@command(
    "schedule",
    """
    satellite schedule one "Mon-Fri 08:00-19:00 Europe/Prague"
    satellite schedule one --none
    """,
)
@written_name
@click.argument("hours", required=False)
@click.option("--none", "removes", is_flag=True, help="Keep it awake for its builds alone.")
def schedule(
    name: str, *, hours: str | None, removes: bool, target: Target, output: Output
) -> None:
    """Keep a satellite awake in certain HOURS, and wake it before they begin.

    HOURS are days, times and a time zone: "Mon-Fri 08:00-19:00 Europe/Prague"; several parts are
    separated by semicolons. Without HOURS, those that it has are printed.
    """
    if hours is not None and (removes or not hours.strip()):
        raise click.UsageError("give HOURS or --none")
    with client_of(target) as client:
        wanted = "" if removes else hours
        satellite = client.get(name) if wanted is None else client.update(name, schedule=wanted)
    says = f"is kept awake {satellite.schedule}" if satellite.schedule else "has no schedule"
    output.answer(satellite, f"{satellite.org}/{satellite.name} {says}")


@command("resize", "satellite resize one m7i.2xlarge")
@written_name
@click.argument("size")
@waits("Wait until it is done.")
def resize(name: str, *, size: str, wait: bool, target: Target, output: Output) -> None:
    """Give a satellite a machine of another SIZE, with the same disk.

    An idle one is stopped for it; where builds run, it waits for the next sleep.
    """
    with client_of(target) as client:
        satellite = client.update(name, size=size)
        satellite = _changed(client, satellite, output, wait=wait)
    answer(satellite, output)


def _changed(
    client: Client, satellite: SatelliteView, output: Output, *, wait: bool
) -> SatelliteView:
    if not wait or not satellite.change_pending:
        return satellite
    settled = until_the_end(until_settled(client.follow(satellite.name)), output)
    check(settled)
    return settled


@command("repair", "satellite repair one")
@named
@waits("Wait until it runs.")
def repair(name: str, *, wait: bool, target: Target, output: Output) -> None:
    """Give a failed satellite a new machine.

    It keeps its name; what was on its disk is lost.
    """
    with client_of(target) as client:
        satellite = client.repair(name)
        if wait:
            satellite = until_the_end(client.wake(name), output)
    answer(satellite, output)


@command(
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
@click.option("--yes", is_flag=True, help="Do not ask for the name; needed without a terminal.")
@waits("Wait until its machine is gone.")
def rm(name: str, *, force: bool, yes: bool, wait: bool, target: Target, output: Output) -> None:
    """End a satellite, its machine and its disk.

    On a terminal it asks for the name once more; without one, it needs --yes.
    """
    confirm(f"This ends {name!r} and deletes its disk.", name, yes=yes)
    with client_of(target) as client:
        satellite = client.terminate(name, force=force)
        if wait and satellite.state is not State.TERMINATED:
            satellite = until_the_end(until_ended(client, satellite), output)
            check(satellite)
    answer(satellite, output)
