"""A recipe written down: as cloud-init's user data, and as the script that bakes an image."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from torpor_provisioner.bootstrap.files import File
from torpor_provisioner.bootstrap.machine import Machine, System
from torpor_provisioner.bootstrap.recipe import SETUP, Recipe, recipe

INSTALL = {
    System.AL2023: "dnf install --assumeyes --quiet",
    System.UBUNTU: "apt-get update -qq\n"
    "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends",
}
LATER = {
    True: "# The image holds the rest: only what this satellite is called is written here.",
    False: "# Everything that makes an empty machine a satellite.",
}


def user_data(machine: Machine, *, baked: bool = False) -> str:
    """Cloud-init's user data for a satellite.

    Args:
        machine: what is asked of it.
        baked: the image was made with `image_script` from the same machine, so that only the
            satellite's own values are left to write.
    """
    wanted = recipe(machine)
    lines = ["#cloud-config", LATER[baked], "ssh_pwauth: false", "disable_root: true"]
    if not baked:
        lines += ["package_update: true", "packages:"]
        lines += [f"  - {package}" for package in wanted.packages]
    lines.append("write_files:")
    for file in (wanted.own,) if baked else wanted.everything:
        lines += _written(file)
    lines += ["runcmd:", f"  - [{SETUP}]"]
    return "\n".join(lines) + "\n"


def image_script(machine: Machine) -> str:
    """A shell script that makes a machine into an image of a satellite: all but its own values."""
    wanted = recipe(machine)
    head = [
        "#!/bin/sh",
        "# Made by `python -m torpor_provisioner.bootstrap`; change it there.",
        "set -eu",
        f"{INSTALL[machine.system]} {' '.join(wanted.packages)}",
    ]
    tail = [
        f"{SETUP} image",
        # Each satellite makes its own: two machines of one image must not be one to anybody.
        "cloud-init clean --logs --machine-id",
        "rm -f /etc/ssh/ssh_host_*",
    ]
    return "\n".join([*head, *_here_documents(wanted), *tail]) + "\n"


def _written(file: File) -> Iterable[str]:
    yield f"  - path: {file.path}"
    if file.executable:  # all others have what cloud-init gives a file: 0644
        yield f"    permissions: '{file.mode}'"
    yield "    content: |"
    for line in file.content.splitlines():
        # User data has 16 KiB; the reasons are in this package and in an image's files.
        if line and (line.startswith("#!") or not line.lstrip().startswith("#")):
            yield f"      {line}"


def _here_documents(wanted: Recipe) -> Iterable[str]:
    for file in wanted.files:
        path = shlex.quote(file.path)
        yield f"install -D -m {file.mode} /dev/null {path}"
        yield f"cat >{path} <<'TORPOR_END'"
        yield file.content.rstrip("\n")
        yield "TORPOR_END"
