"""Every kind of satellite that the bootstrap can make."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from torpor_provisioner.bootstrap import Machine, Recipe, System, Worker, recipe

KINDS = list(itertools.product(System, Worker))


@pytest.fixture(params=KINDS, ids=[f"{s}-{w}" for s, w in KINDS])
def machine(request: pytest.FixtureRequest) -> Machine:
    system, worker = request.param
    return Machine(system=system, worker=worker)


@pytest.fixture
def content() -> Callable[[Recipe, str], str]:
    """The text of the file of a recipe whose path ends so."""

    def find(made: Recipe, end: str) -> str:
        (file,) = [f for f in made.everything if f.path.endswith(end)]
        return file.content

    return find


@pytest.fixture
def laid(tmp_path: Path) -> Callable[[Machine], Path]:
    """Lays a machine's files below a folder, as they would lie below /."""

    def lay(machine: Machine) -> Path:
        for file in recipe(machine).everything:
            at = tmp_path / file.path.lstrip("/")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(file.content)
            at.chmod(int(file.mode, 8))
        return tmp_path

    return lay


@pytest.fixture
def programs(laid: Callable[[Machine], Path]) -> Path:
    """Where the programs of a machine as shipped are laid."""
    return laid(Machine()) / "usr/libexec/torpor"
