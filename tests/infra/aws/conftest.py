"""Templates read as CloudFormation reads them, and policies with their blanks filled in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REGION = "eu-west-1"
ACCOUNT = "123456789012"
VALUES = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "Deployment": "prod",
    "Network": "vpc-1",
    "SatelliteGroup": "sg-1",
    "SatelliteRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/satellite",
}
SIZES = ["c7*.*", "m7*.*"]


@pytest.fixture(scope="session")
def policy(infra: Path) -> Callable[..., dict[str, Any]]:
    """A policy of infra/iam, with values in its blanks."""

    def read(name: str = "machines", **values: str) -> dict[str, Any]:
        text = (infra / "iam" / f"{name}.json").read_text()
        for blank, value in (VALUES | values).items():
            text = text.replace("$" + f"{{{blank}}}", value)
        text = text.replace('"${AllowedSizes}"', json.dumps(SIZES))
        assert "${" not in text
        made: dict[str, Any] = json.loads(text)
        return made

    return read
