"""The ec2 provisioner keeps the contract against a faithful EC2."""

from __future__ import annotations

import pytest

from torpor_provisioner.conformance import CHECKS, Check, Subject
from torpor_provisioner.ec2.actions import Action, Limit


@pytest.fixture
def subject(ec2, spec, faithful) -> Subject:
    faithful.front.limits.on = False  # they would make eight launches at once take three seconds
    limits = {Action.RUN_INSTANCES: Limit(100, 100)}
    return Subject(
        one=ec2(limits=limits),
        other=ec2(limits=limits),
        spec=spec,
        unknown_ref="123456789012/eu-west-1/i-0123456789abcdef0",
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check, subject: Subject) -> None:
    await check(subject)
