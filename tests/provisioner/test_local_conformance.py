"""The local provisioner keeps the contract, at once and as slowly as a cloud."""

from __future__ import annotations

import pytest

from torpor_provisioner.conformance import CHECKS, Check, Subject
from torpor_provisioner.local.phases import Timing

SLOW = Timing(start_delay=0.1, resume_delay=0.1, freeze_delay=0.1, stop_grace=0.1)
STUBBORN = """sh -c 'trap "" TERM; while :; do sleep 1; done'"""


@pytest.fixture(params=["at-once", "slow", "stubborn"])
def subject(request: pytest.FixtureRequest, local, spec) -> Subject:
    worker = STUBBORN if request.param == "stubborn" else "sleep 100000"
    timing = Timing() if request.param == "at-once" else SLOW
    return Subject(
        one=local(worker, timing=timing),
        other=local(worker, timing=timing),
        spec=spec,
        unknown_ref="local-0123456789abcdef",
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check, subject: Subject) -> None:
    await check(subject)
