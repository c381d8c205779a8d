"""`torpor demo`: what can be asked of it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

CLOUDS = ("local", "vm", "ec2")


@click.command(context_settings={"show_default": True})
@click.option("--once", is_flag=True, help="End when the story has been told.")
@click.option("--builds", default=50, type=click.IntRange(2, 1000), help="That come at once.")
@click.option(
    "--provisioner",
    "cloud",
    default=CLOUDS[0],
    type=click.Choice(CLOUDS),
    help="'vm': real machines, on QEMU; 'ec2' plays on a faithful EC2 here, not on AWS.",
)
@click.option("--port", default=8372, type=click.IntRange(1, 65534), help="Of the first router.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".torpor/demo"),
    help="Where its Postgres and its satellites live.",
)
def demo(*, once: bool, builds: int, cloud: str, port: int, data: Path) -> None:
    """Watch it hold, wake, build and sleep, here.

    Starts a Postgres, two routers and a satellite, builds, lets the satellite fall asleep, sends
    it builds all at once, and counts the wake calls. Exit code 0: the story came true; 1: not.
    """
    from torpor_router.demo.run import Options, run

    sys.exit(run(Options(once=once, builds=builds, cloud=cloud, port=port, data=data)))
