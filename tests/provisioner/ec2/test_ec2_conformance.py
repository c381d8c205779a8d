"""The ec2 provisioner keeps the contract against a faithful EC2."""

from __future__ import annotations

import pytest

from torpor_provisioner.conformance import CHECKS, Check, Subject


@pytest.fixture
def subject(ec2, spec) -> Subject:
    return Subject(
        one=ec2(),
        other=ec2(),
        spec=spec,
        unknown_ref="123456789012/eu-west-1/i-0123456789abcdef0",
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check, subject: Subject) -> None:
    await check(subject)
