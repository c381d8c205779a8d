"""Has a faithful EC2 played in a process of its own, for as long as somebody needs it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torpor_provisioner.errors import NotInstalled, NotReady

ENDS_WITHIN = 60.0  # seconds
PLAYER = "torpor_provisioner.faithful_ec2"
NEEDED = ("moto", "flask", "flask_cors")


@contextmanager
def played(
    folder: Path,
    *,
    deployment: str = "demo",
    speed: float = 1.0,
    timing: Mapping[str, float] | None = None,
    worker: str = "",
) -> Iterator[dict[str, str]]:
    """An EC2 with workers on this machine; gives the environment of a router that uses it.

    It ends, with every worker, when the context does or when this process does, however that
    comes about. `worker` is a command line as in TORPOR_LOCAL_WORKER; `timing` holds some of
    `Timing`, in seconds that pass `speed` times as fast. Needs Linux, where the whole of
    127.0.0.0/8 is this machine's.

    Raises:
        NotInstalled: moto is missing.
        NotReady: it does not start; why is on standard error.
    """
    require()
    command = [sys.executable, "-m", PLAYER, str(folder), "--deployment", deployment]
    command += ["--speed", str(speed), "--timing", json.dumps(dict(timing or {}))]
    command += ["--worker", worker] if worker else []
    player = subprocess.Popen(  # noqa: S603 - our own program
        command,
        stdin=subprocess.PIPE,  # its end is what ends the player
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C is for us, and the router still needs it to clear up
    )
    try:
        assert player.stdout is not None
        line = player.stdout.readline()
        if not line:
            raise NotReady("the faithful EC2 did not start")
        yield json.loads(line)
    finally:
        _end(player)


def _end(player: subprocess.Popen[str]) -> None:
    try:
        player.communicate(timeout=ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        player.kill()  # its warden ends the workers
        player.communicate()


def require() -> None:
    """Raise NotInstalled unless what the faithful EC2 is made of is there."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise NotInstalled(f"torpor[demo-ec2], for {', '.join(missing)}")
