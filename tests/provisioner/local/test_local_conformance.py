"""The local provisioner keeps the contract, at once and as slowly as a cloud."""

from __future__ import annotations

import asyncio

import pytest

from torpor_provisioner.conformance import (
    CHECKS,
    Check,
    Subject,
    a_call_given_up_at_any_await_has_no_effect_later,
    a_call_whose_time_is_up_has_no_effect,
)
from torpor_provisioner.local.phases import Timing
from torpor_provisioner.local.provisioner import LocalProvisioner

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


@pytest.mark.parametrize(
    "check",
    [a_call_given_up_at_any_await_has_no_effect_later, a_call_whose_time_is_up_has_no_effect],
    ids=lambda check: check.__name__,
)
async def test_a_cloud_that_takes_effect_late_is_seen(
    check: Check, local, spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the work to a task of its own, which knows neither deadline nor cancellation."""
    begun: list[asyncio.Task[None]] = []
    wake = LocalProvisioner.wake

    async def later(self: LocalProvisioner, ref: str) -> None:
        async def waking() -> None:
            await asyncio.sleep(0.05)
            await wake(self, ref)

        begun.append(asyncio.get_running_loop().create_task(waking()))

    monkeypatch.setattr(LocalProvisioner, "wake", later)
    one = local("sleep 100000")
    subject = Subject(one=one, other=one, spec=spec, unknown_ref="local-0123456789abcdef", late=9)
    with pytest.raises(AssertionError, match=r"late|time was up"):
        await check(subject)
    await asyncio.gather(*begun, return_exceptions=True)
