"""Many machines started with few requests, and each told what became of it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torpor_provisioner import deadline
from torpor_provisioner.ec2 import throttle as throttling
from torpor_provisioner.ec2.actions import Action, Limit
from torpor_provisioner.ec2.api import Api
from torpor_provisioner.ec2.batches import SIZE, Batches
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.ec2.throttle import Throttle
from torpor_provisioner.errors import NotReady, Throttled

START = Action.START_INSTANCES


def name(number: int) -> str:
    return f"i-{number:017x}"


def number_of(instance: str) -> int:
    return int(instance.removeprefix("i-"), 16)


def _batches(client: Any, throttle: Throttle | None = None, **more: Any) -> Batches:
    api = Api("123456789012", "eu-west-1", client, throttle or Throttle())
    return Batches(api, START, more)


def _sent(client: Any) -> list[list[int]]:
    return [[number_of(i) for i in sent["InstanceIds"]] for _, _, sent in client.calls]


async def _outcomes(batches: Batches, instances: list[str]) -> list[Any]:
    return await asyncio.gather(*map(batches.ask, instances), return_exceptions=True)


def test_one_that_comes_alone_goes_at_once(virtual, played) -> None:
    client = played()

    async def main() -> None:
        batches, began = _batches(client, Hibernate=True), time.monotonic()
        await batches.ask(name(1))
        assert time.monotonic() == began

    virtual(main())
    [(_, action, arguments)] = client.calls
    assert action == "start_instances"
    assert arguments == {"InstanceIds": [name(1)], "Hibernate": True}


def test_a_crowd_shares_requests(virtual, played) -> None:
    client = played(seconds=0.3)

    async def main() -> float:
        batches, began = _batches(client), time.monotonic()
        assert await _outcomes(batches, [name(i) for i in range(500)]) == [None] * 500
        return time.monotonic() - began

    assert virtual(main()) == pytest.approx(0.3), "five requests are in the bucket"
    assert [len(batch) for batch in _sent(client)] == [SIZE] * 5
    assert sorted(i for batch in _sent(client) for i in batch) == list(range(500))


def test_callers_for_one_machine_share_its_turn(virtual, played) -> None:
    client = played(seconds=0.3)

    async def main() -> None:
        assert await _outcomes(_batches(client), [name(1)] * 50) == [None] * 50

    virtual(main())
    assert _sent(client) == [[1]]


def test_calls_during_an_empty_bucket_join_the_next_request(virtual, played) -> None:
    client = played()

    async def main() -> None:
        batches, began = _batches(client), time.monotonic()
        for i in range(5):
            await batches.ask(name(i))
        await _outcomes(batches, [name(i) for i in range(5, 45)])
        assert time.monotonic() - began == pytest.approx(1.0)

    virtual(main())
    assert [len(batch) for batch in _sent(client)] == [1, 1, 1, 1, 1, 40]


def test_requests_name_no_more_than_the_bucket_of_resources_holds(virtual, played) -> None:
    client = played()
    limits = {START: Limit(30, 10)}

    async def main() -> float:
        batches, began = _batches(client, Throttle(resources=limits)), time.monotonic()
        assert await _outcomes(batches, [name(i) for i in range(60)]) == [None] * 60
        return time.monotonic() - began

    assert virtual(main()) == pytest.approx(3.0, abs=0.2), "30 at once, then 10 a second"
    assert sorted(i for batch in _sent(client) for i in batch) == list(range(60))


def test_a_refusal_that_names_machines_is_theirs_alone(virtual, played, refusal) -> None:
    bad = {name(3), name(70)}

    def answer(_: str, sent: dict[str, Any]) -> Any:
        named = bad.intersection(sent["InstanceIds"])
        if named:
            return refusal("IncorrectInstanceState", f"The instances {sorted(named)} are not")
        return {}

    client = played(answer)

    async def main() -> list[Any]:
        return await _outcomes(_batches(client), [name(i) for i in range(80)])

    outcomes = virtual(main())
    assert [i for i, outcome in enumerate(outcomes) if outcome is not None] == [3, 70]
    assert outcomes[3].code == "IncorrectInstanceState"
    assert len(client.calls) == 2


def test_a_refusal_that_names_none_is_narrowed_down_by_halves(virtual, played, refusal) -> None:
    def answer(_: str, sent: dict[str, Any]) -> Any:
        if name(5) in sent["InstanceIds"]:
            return refusal("InsufficientInstanceCapacity", "Insufficient capacity.", 500)
        return {}

    client = played(answer)

    async def main() -> list[Any]:
        return await _outcomes(_batches(client), [name(i) for i in range(16)])

    outcomes = virtual(main())
    assert [i for i, outcome in enumerate(outcomes) if outcome is not None] == [5]
    assert len(client.calls) == 9, "16, and two for each halving"


def test_a_denied_account_fails_the_call_at_once(virtual, played) -> None:
    client = played(lambda *_: Fault("AssumeRole", "AccessDenied", "not authorized", 403))

    async def main() -> list[Any]:
        return await _outcomes(_batches(client), [name(i) for i in range(80)])

    assert {one.code for one in virtual(main())} == {"AccessDenied"}
    assert len(client.calls) == 1


def test_a_lost_answer_is_told_to_all_and_asked_again_by_none(virtual, played) -> None:
    client = played(lambda *_: ConnectionResetError(104, "Connection reset by peer"))

    async def main() -> list[Any]:
        return await _outcomes(_batches(client), [name(i) for i in range(8)])

    outcomes = virtual(main())
    assert all(isinstance(one, Fault) and one.unsure for one in outcomes)
    assert len(client.calls) == 1


def test_throttled_requests_go_again_more_slowly(virtual, played, refusal) -> None:
    refusals = 3

    def answer(*_: Any) -> Any:
        nonlocal refusals
        refusals -= 1
        return refusal("RequestLimitExceeded", "", 503) if refusals >= 0 else {}

    client = played(answer)

    async def main() -> None:
        began = time.monotonic()
        assert await _outcomes(_batches(client), [name(i) for i in range(40)]) == [None] * 40
        assert 2.0 <= time.monotonic() - began < 15.0

    virtual(main())
    sizes = [len(batch) for batch in _sent(client)]
    assert sizes[:2] == [40, 40], "first the same again"
    assert max(sizes[2:]) < 40


def test_throttled_for_ever_is_told(virtual, played, refusal) -> None:
    client = played(lambda *_: refusal("RequestLimitExceeded", "", 503))

    async def main() -> None:
        [outcome] = await _outcomes(_batches(client), [name(1)])
        assert isinstance(outcome, (Fault, Throttled))

    virtual(main())
    assert len(client.calls) <= 10


def test_a_queue_that_is_too_long_is_told_to_all(virtual, played) -> None:
    client = played()

    async def main() -> None:
        batches = _batches(client, Throttle({START: Limit(1, 0.01)}))
        await batches.ask(name(0))
        outcomes = await _outcomes(batches, [name(1), name(2)])
        assert [type(one) for one in outcomes] == [Throttled, Throttled]
        assert "queue" in outcomes[0].detail

    virtual(main())


def test_a_caller_who_gives_up_takes_nobody_along(virtual, played) -> None:
    client = played()

    async def main() -> None:
        batches = _batches(client, Throttle({START: Limit(1, 1)}))
        await batches.ask(name(0))
        first, second = (asyncio.create_task(batches.ask(name(1))) for _ in range(2))
        alone = asyncio.create_task(batches.ask(name(2)))
        await asyncio.sleep(0.1)
        first.cancel()
        alone.cancel()
        await second
        assert await asyncio.gather(first, alone, return_exceptions=True)
        assert "waiting=0" in repr(batches)

    virtual(main())
    assert _sent(client) == [[0], [1]], "nobody waited for the third any more"


def test_a_request_ends_with_the_last_who_waits_for_it(virtual, played) -> None:
    """It must not leave a slow connection when another node may have moved the machine."""
    finished = []
    client = played(seconds=9.0, answer=lambda _, sent: finished.append(sent) or {})

    async def main() -> None:
        batches = _batches(client)
        one, other = (asyncio.create_task(batches.ask(name(n))) for n in (1, 2))
        await asyncio.sleep(1)
        one.cancel()
        await asyncio.sleep(0)
        assert "sent=1" in repr(batches)  # the other waits
        other.cancel()
        await asyncio.sleep(0.1)
        assert "sent=0" in repr(batches)

    virtual(main())
    assert (_sent(client), finished) == ([[1, 2]], [])


def test_a_call_past_its_deadline_is_in_no_request(virtual, played) -> None:
    """A queue is shared: one caller's deadline is not another's."""
    client = played()

    async def late(batches: Batches, instance: str, until: float) -> None:
        with deadline.given(lambda: until - time.monotonic()):
            await batches.ask(instance)

    async def main() -> None:
        batches = _batches(client, Throttle({START: Limit(1, 1)}))
        now = time.monotonic()
        first = asyncio.create_task(late(batches, name(0), now + 0.5))
        await first
        told = await asyncio.gather(
            late(batches, name(1), now + 0.5),
            late(batches, name(2), now + 9),
            batches.ask(name(3)),
            return_exceptions=True,
        )
        assert [type(one) for one in told] == [NotReady, type(None), type(None)]

    virtual(main())
    assert _sent(client) == [[0], [2, 3]]


def test_closing_tells_those_who_wait(virtual, played) -> None:
    client = played(seconds=100.0)

    async def main() -> None:
        batches = _batches(client, Throttle({START: Limit(1, 0.5)}))
        asked = [asyncio.create_task(batches.ask(name(0)))]
        await asyncio.sleep(0.1)
        asked.append(asyncio.create_task(batches.ask(name(1))))
        await asyncio.sleep(0.1)
        await batches.aclose()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in outcomes] == [NotReady, NotReady]

    virtual(main())


def test_one_that_comes_in_the_instant_in_which_the_queue_empties_is_served(
    virtual, played
) -> None:
    """The pump's last step and a newcomer, in every order in which the loop may take them."""
    client = played()

    async def main() -> None:
        batches = _batches(client, Throttle({START: Limit(1000, 1000)}))

        async def later(steps: int) -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            await batches.ask(name(steps))

        await asyncio.gather(*map(later, range(20)))

    virtual(main())
    assert sorted(i for batch in _sent(client) for i in batch) == list(range(20))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    number=st.integers(1, 120),
    bad=st.sets(st.integers(0, 119), max_size=5),
    names=st.booleans(),
    throttled=st.sets(st.integers(0, 20), max_size=5),
)
def test_each_machine_is_told_its_own(
    virtual: Callable[[Any], Any],
    played: Any,
    refusal: Any,
    number: int,
    bad: set[int],
    names: bool,
    throttled: set[int],
) -> None:
    started: list[str] = []

    def answer(_: str, sent: dict[str, Any]) -> Any:
        if len(client.calls) in throttled:
            return refusal("RequestLimitExceeded", "", 503)
        wrong = [i for i in sent["InstanceIds"] if number_of(i) in bad]
        if wrong:
            told = f"The instances {wrong}" if names else "Insufficient"
            return refusal("InsufficientInstanceCapacity", told, 500)
        started.extend(sent["InstanceIds"])
        return {}

    client = played(answer)

    async def main() -> list[Any]:
        batches = _batches(client, Throttle({START: Limit(5, 20)}))
        return await _outcomes(batches, [name(i) for i in range(number)])

    outcomes = virtual(main())
    assert {i for i, outcome in enumerate(outcomes) if outcome is not None} == {
        i for i in bad if i < number
    }
    assert sorted(started) == [name(i) for i in range(number) if i not in bad], "once each"


def test_instances_are_named_as_aws_names_them() -> None:
    assert re.fullmatch(r"i-[0-9a-f]{17}", name(500))


async def test_what_waited_while_the_process_stood_still_is_not_sent(played, monkeypatch) -> None:
    """Its claim may be another's by now; a node that still wants it asks again."""
    monkeypatch.setattr(throttling, "STOOD_STILL", 0.1)
    client = played()
    batches = _batches(client, Throttle({START: Limit(1, 5)}))
    await batches.ask(name(1))
    asyncio.get_running_loop().call_later(0.05, time.sleep, 2.5)
    with pytest.raises(NotReady, match="stood still"):
        await batches.ask(name(2))
    assert _sent(client) == [[1]]
    await batches.ask(name(2))
    assert _sent(client) == [[1], [2]]
    await batches.aclose()
