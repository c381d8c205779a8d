"""Provisioners found by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from torpor_provisioner import registry
from torpor_provisioner.contract import Provisioner
from torpor_provisioner.errors import Invalid
from torpor_provisioner.local import LocalProvisioner


async def test_local_is_installed(tmp_path: Path) -> None:
    made = registry.create("local", {"TORPOR_LOCAL_ACCOUNTS": "router"}, tmp_path)
    assert isinstance(made, LocalProvisioner)
    assert isinstance(made, Provisioner)
    await made.aclose()


def test_an_unknown_one_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"no provisioner 'cloudy'.*'local'"):
        registry.create("cloudy", {}, tmp_path)


def test_a_bad_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="TORPOR_LOCAL_NICE"):
        registry.create("local", {"TORPOR_LOCAL_NICE": "very"}, tmp_path)


class Half:
    """Lacks all but one part of the contract."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data: Path) -> Half:
        return cls()

    async def wake(self, ref: str) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_module:Cloud", "cannot be loaded"),
        ("pathlib:Path", "cannot be loaded"),
        ("pathlib:NoSuchThing", "cannot be loaded"),
        ("half:Half", "lacks a part"),
    ],
)
def test_a_broken_one_is_told_from_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, told: str
) -> None:
    entry = EntryPoint("cloudy", value, registry.GROUP)
    if value == "half:Half":
        monkeypatch.setattr(EntryPoint, "load", lambda _: Half)
    monkeypatch.setattr(registry, "available", lambda: {"cloudy": entry})
    with pytest.raises(Invalid, match=told):
        registry.create("cloudy", {}, tmp_path)
