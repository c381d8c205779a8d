"""Finds provisioners by name: another cloud is a package with an entry point.

    [project.entry-points."torpor.provisioners"]
    mycloud = "my_package:MyProvisioner"

The object it names is a class that keeps the contract and has one class method more,
`from_environment(environ, data)`: `environ` holds the operator's variables, by convention
TORPOR_MYCLOUD_...; `data` is the node's data folder, in which it may keep a folder of its own.
It does no I/O beyond files; what cannot be used it refuses with `Invalid`, naming the variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from torpor_provisioner.contract import Provisioner
from torpor_provisioner.errors import Invalid

GROUP = "torpor.provisioners"


def available() -> Mapping[str, EntryPoint]:
    """Every installed provisioner, by name, not yet imported."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def create(name: str, environ: Mapping[str, str], data: Path) -> Provisioner:
    """Make the provisioner of that name; the caller closes it.

    Raises:
        Invalid: there is none, it cannot be imported, or its environment cannot be used.
    """
    found = available()
    if name not in found:
        raise Invalid(f"there is no provisioner {name!r}; installed are {sorted(found)}")
    try:
        made = found[name].load().from_environment(environ, data)
    except (ImportError, AttributeError) as error:
        raise Invalid(f"the provisioner {name!r} cannot be loaded: {error}") from error
    if not isinstance(made, Provisioner):
        raise Invalid(f"the provisioner {name!r} lacks a part of the contract")
    return made
