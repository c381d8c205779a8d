"""Token buckets, and who waits for them how long."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.ec2.actions import REQUESTS, RESOURCES, Action, Limit
from torpor_provisioner.ec2.buckets import FLOOR, Bucket
from torpor_provisioner.ec2.throttle import Throttle
from torpor_provisioner.errors import Throttled
from torpor_provisioner.faithful_ec2 import limits

START = Action.START_INSTANCES


def test_every_action_has_its_published_limit() -> None:
    """Of "Request throttling for the Amazon EC2 API"; a few figures are written out again."""
    assert set(REQUESTS) == set(Action)
    assert REQUESTS[Action.RUN_INSTANCES] == (5, 2)
    assert REQUESTS[Action.START_INSTANCES] == (5, 2)
    assert REQUESTS[Action.TERMINATE_INSTANCES] == (100, 5)
    assert REQUESTS[Action.CREATE_TAGS] == (100, 10)
    assert RESOURCES == {
        Action.RUN_INSTANCES: (1000, 2),
        Action.START_INSTANCES: (1000, 2),
        Action.STOP_INSTANCES: (1000, 20),
        Action.TERMINATE_INSTANCES: (1000, 20),
    }


def test_a_full_bucket_lets_its_capacity_through_at_once_and_its_rate_after_that() -> None:
    bucket = Bucket(Limit(5, 2), 0.0)
    assert [bucket.reserve(1, 0.0) for _ in range(8)] == [0, 0, 0, 0, 0, 1, 1, 2]


def test_a_bucket_never_holds_more_than_its_capacity() -> None:
    bucket = Bucket(Limit(5, 2), 0.0)
    assert bucket.available(1e9) == 5
    bucket.give_back(3)
    assert bucket.available(1e9) == 5


def test_a_refusal_empties_it_and_halves_the_rate_once_for_all_that_were_under_way() -> None:
    bucket = Bucket(Limit(10, 4), 0.0)
    for at in (0.0, 0.1, 0.2):
        bucket.refused(at)
    assert bucket.rate == 2
    bucket.refused(1.5)
    assert bucket.rate == 1
    assert bucket.wait(1, 1.5) == pytest.approx(1.0)


def test_the_rate_has_a_floor_and_grows_back() -> None:
    bucket = Bucket(Limit(10, 4), 0.0)
    for at in range(100):
        bucket.refused(float(at))
    assert bucket.rate == 4 * FLOOR
    for at in range(100, 200):
        bucket.passed(float(at))
    assert bucket.rate == 4


def test_a_refusal_of_many_resources_leaves_room_for_fewer() -> None:
    bucket = Bucket(Limit(1000, 2), 0.0)
    bucket.drained(0.0, 50)
    assert bucket.available(0.0) == 50
    assert bucket.rate == 2, "nothing is known of the rate"


@given(
    limit=st.builds(Limit, st.integers(100, 1000), st.floats(0.1, 50)),  # as AWS's are
    phase=st.floats(0, 1, exclude_max=True),
    asked=st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=60),
)
def test_a_call_that_waits_its_time_is_never_refused(
    limit: Limit, phase: float, asked: list[tuple[float, int]]
) -> None:
    """AWS fills its bucket up once a second, at a moment of its own."""
    began = 1000.0 + phase
    theirs, ours = limits._Bucket(limit, began), Bucket(limit, began)
    now, uses = began, []
    for pause, tokens in asked:
        now += pause
        if tokens <= limit.capacity:
            uses.append((now + ours.reserve(tokens, now), tokens))
    assert [at for at, _ in uses] == sorted(at for at, _ in uses), "in the order of coming"
    for at, tokens in uses:
        assert theirs.tokens(at + 1e-5) >= tokens - 1e-5
        theirs.take(tokens)


@given(st.integers(1, 500), st.floats(0, 1, exclude_max=True))
def test_a_crowd_is_through_as_soon_as_aws_allows_within_a_second(
    number: int, phase: float
) -> None:
    limit = Limit(5, 2)
    began = 1000.0 + phase
    ours = Bucket(limit, began)
    last = max(ours.reserve(1, began) for _ in range(number))
    assert last <= max(0.0, (number - limit.capacity) / limit.rate) + 1.0


@given(st.floats(0, 100), st.integers(1, 10))
def test_what_is_given_back_is_there_again(now: float, tokens: int) -> None:
    bucket = Bucket(Limit(10, 1), now)
    before = bucket.available(now)
    bucket.reserve(tokens, now)
    bucket.give_back(tokens)
    assert bucket.available(now) == pytest.approx(before)


def test_callers_are_let_through_in_the_order_in_which_they_came(virtual) -> None:
    async def main() -> list[tuple[int, float]]:
        throttle, began, passed = Throttle(), time.monotonic(), []

        async def one(number: int) -> None:
            await throttle.request(START)
            passed.append((number, time.monotonic() - began))

        await asyncio.gather(*map(one, range(9)))
        return passed

    passed = virtual(main())
    assert [at for _, at in sorted(passed)] == pytest.approx([0, 0, 0, 0, 0, 1, 1, 2, 2])


def test_one_who_gives_up_gives_his_turn_back(virtual) -> None:
    async def main() -> float:
        throttle, began = Throttle(), time.monotonic()
        for _ in range(5):
            await throttle.request(START)
        waiting = asyncio.create_task(throttle.request(START))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await throttle.request(START)
        return time.monotonic() - began

    assert virtual(main()) == pytest.approx(1.0)


def test_a_call_that_would_wait_too_long_fails_at_once(virtual) -> None:
    async def main() -> None:
        throttle, began = Throttle(patience=10), time.monotonic()
        waits = [asyncio.create_task(throttle.request(START)) for _ in range(25)]
        await asyncio.sleep(0)
        with pytest.raises(Throttled, match="StartInstances has a queue of 11 s"):
            await throttle.request(START)
        assert time.monotonic() == began
        await asyncio.gather(*waits)

    virtual(main())


def test_resources_are_granted_as_far_as_they_go(virtual) -> None:
    async def main() -> None:
        throttle = Throttle(resources={START: Limit(10, 2)})
        assert await throttle.resources(START, 6) == 6
        assert await throttle.resources(START, 6) == 4
        began = time.monotonic()
        assert await throttle.resources(START, 6) == 1, "one may be named, after a while"
        assert time.monotonic() - began == pytest.approx(1.0)
        assert await throttle.resources(START, 6) == 1, "the other of that second"
        throttle.unused(START, 3)
        assert await throttle.resources(START, 6) == 3
        assert await throttle.resources(Action.DESCRIBE_INSTANCES, 1000) == 1000

    virtual(main())


def test_an_account_may_have_larger_buckets(virtual) -> None:
    async def main() -> float:
        throttle, began = Throttle({START: Limit(100, 50)}), time.monotonic()
        for _ in range(150):
            await throttle.request(START)
        return time.monotonic() - began

    assert virtual(main()) == pytest.approx(1.0)


def test_a_refused_crowd_is_asked_again_then_halved_until_it_passes(virtual) -> None:
    async def main() -> None:
        throttle = Throttle(resources={START: Limit(1000, 0.01)})
        for wanted in (100, 100, 50, 25):
            await throttle.request(START)
            assert await throttle.resources(START, 100) == wanted
            throttle.refused(START, wanted)
        assert throttle._requests[START].rate == 2, "it is not the requests"
        for _ in range(3):
            assert await throttle.resources(START, 100) == 12
            throttle.passed(START, 12)
        for wanted in (12, 12, 6, 3):
            assert await throttle.resources(START, 100) == wanted
            throttle.refused(START, wanted)
        throttle.refused(START, 1)
        assert throttle._requests[START].rate == 1
        assert throttle._resources[START].rate == 0.005

    virtual(main())


def test_once_a_bucket_is_full_again_it_is_trusted(virtual) -> None:
    async def main() -> None:
        throttle = Throttle(resources={START: Limit(20, 2)})
        for _ in range(2):
            throttle.refused(START, 10)
        assert await throttle.resources(START, 20) == 5
        await asyncio.sleep(60)
        throttle.passed(START, 5)
        assert await throttle.resources(START, 20) == 20
        throttle.passed(START, 20)
        began = time.monotonic()
        await throttle.resources(START, 1)
        assert time.monotonic() - began == pytest.approx(1.0)

    virtual(main())


def test_one_start_that_is_refused_says_nothing_of_how_many_may_be_named(virtual) -> None:
    async def main() -> None:
        throttle = Throttle()
        for _ in range(2):
            throttle.refused(START, 1)
        assert throttle._requests[START].rate == 1
        assert await throttle.resources(START, 500) == 500

    virtual(main())
