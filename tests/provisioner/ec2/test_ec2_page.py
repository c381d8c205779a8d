"""docs/ec2.md names every setting and every call that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from torpor_provisioner.ec2 import environment, plan
from torpor_provisioner.ec2.actions import Action

PAGE = (Path(__file__).parents[3] / "docs" / "ec2.md").read_text()
SOURCE = Path(environment.__file__).read_text()
READ = set(re.findall(r'given(?:\.get\(|\[|, )"([A-Z_]+)"', SOURCE)) | {
    f"{kind}_{arch}" for kind in ("IMAGE", "SIZE") for arch in ("X86_64", "ARM64")
}


def test_the_source_is_read_right() -> None:
    assert {"DEPLOYMENT", "PACE", "LIMITS", "ORGS", "ENDPOINT", "IMAGE_ARM64"} <= READ


@pytest.mark.parametrize("name", sorted(READ))
def test_every_variable_is_explained(name: str) -> None:
    assert re.search(rf"^\|.*`{name}`", PAGE, re.MULTILINE)


def test_no_variable_is_explained_that_is_not_read() -> None:
    table = PAGE.partition("## Settings")[2].partition("What cannot be meant")[0]
    assert set(re.findall(r"`([A-Z][A-Z0-9_]+)`", table)) - READ == {
        "AWS_ACCESS_KEY_ID",
        "TORPOR_EC2_",
    }


@pytest.mark.parametrize("action", Action)
def test_every_call_is_listed(action: Action) -> None:
    assert f"`{action}`" in PAGE


@pytest.mark.parametrize("setting", sorted(plan.KNOWN))
def test_every_setting_of_a_satellite_is_explained(setting: str) -> None:
    assert f"| `{setting}` |" in PAGE
