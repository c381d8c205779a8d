"""One look at many machines, shared by everybody who wants to know."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.api import PAGE, Api
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.ec2.machines import observed
from torpor_provisioner.ec2.observer import FED, RESTED, Observer
from torpor_provisioner.ec2.throttle import Throttle
from torpor_provisioner.errors import Gone, NotReady, Throttled

PACE = 0.5


def name(number: int) -> str:
    return f"i-{number:017x}"


def _told(*instances: str, state: str = "running") -> dict[str, Any]:
    held = [{"InstanceId": one, "State": {"Name": state}} for one in instances]
    return {"Reservations": [{"Instances": [one]} for one in held]}


def _all(_: str, asked: dict[str, Any]) -> dict[str, Any]:
    return _told(*asked["InstanceIds"])


def _moving(_: str, asked: dict[str, Any]) -> dict[str, Any]:
    return _told(*asked["InstanceIds"], state="pending")


def _observer(client: Any) -> Observer:
    return Observer(Api("123456789012", "eu-west-1", client, Throttle()), PACE)


def test_everybody_shares_one_look(virtual, played) -> None:
    client = played(_all, seconds=0.1)

    async def main() -> None:
        observer = _observer(client)
        looks = await asyncio.gather(*(observer.look([name(i % 40)]) for i in range(400)))
        assert all(one[name(i % 40)] is not None for i, one in enumerate(looks))

    virtual(main())
    [(_, action, arguments)] = client.calls
    assert action == "describe_instances"
    assert sorted(arguments["InstanceIds"]) == [name(i) for i in range(40)]


def test_more_than_a_thousand_are_asked_for_in_several_requests(virtual, played) -> None:
    client = played(_all)

    async def main() -> None:
        looked = await _observer(client).look([name(i) for i in range(2500)])
        assert len(looked) == 2500

    virtual(main())
    assert sorted(len(sent["InstanceIds"]) for _, _, sent in client.calls) == [500, PAGE, PAGE]


def test_any_number_of_waits_costs_two_requests_a_second(virtual, played) -> None:
    client = played(_moving)

    async def main() -> None:
        observer, end = _observer(client), time.monotonic() + 20

        async def wait(instance: str) -> None:
            while time.monotonic() < end:
                await observer.look([instance])
                await asyncio.sleep(0.05)

        await asyncio.gather(*(wait(name(i)) for i in range(100)))

    virtual(main())
    assert 35 <= len(client.calls) <= 42


def test_without_callers_nothing_is_asked(virtual, played) -> None:
    client = played(_all)

    async def main() -> None:
        observer = _observer(client)
        await observer.look([name(1)])
        await asyncio.sleep(600)

    virtual(main())
    assert len(client.calls) == 1


@pytest.mark.parametrize(
    ("state", "fed", "paces"),
    [("pending", False, 1), ("running", False, RESTED), ("running", True, FED)],
)
def test_what_was_seen_is_believed_for_a_while(
    virtual, played, state: str, fed: bool, paces: int
) -> None:
    client = played(lambda _, asked: _told(*asked["InstanceIds"], state=state))

    async def main() -> None:
        observer = _observer(client)
        observer.fed = fed
        await observer.look([name(1)])
        await asyncio.sleep(paces * PACE - 0.01)
        await observer.look([name(1)])
        assert len(client.calls) == 1
        await asyncio.sleep(0.02)
        await observer.look([name(1)])
        assert len(client.calls) == 2

    virtual(main())


def test_nothing_is_believed_of_a_machine_of_which_something_was_asked_since(
    virtual, played
) -> None:
    client = played(_all)

    async def main() -> None:
        observer = _observer(client)
        await observer.look([name(1), name(2)])
        await asyncio.sleep(0.01)
        observer.changed(name(1))
        await observer.look([name(2)])
        assert len(client.calls) == 1
        await observer.look([name(1)])
        assert len(client.calls) == 2

    virtual(main())


def test_a_look_that_was_under_way_when_a_machine_changed_does_not_count(virtual, played) -> None:
    states = iter(["stopped", "pending"])
    client = played(lambda _, asked: _told(*asked["InstanceIds"], state=next(states)), seconds=0.2)

    async def main() -> None:
        observer = _observer(client)
        looking = asyncio.create_task(observer.look([name(1)]))
        await asyncio.sleep(0.1)
        observer.changed(name(1))
        seen = (await looking)[name(1)]
        assert seen is not None
        assert seen["State"]["Name"] == "pending"

    virtual(main())


def test_what_was_learned_by_the_way_need_not_be_asked(virtual, played) -> None:
    client = played(_all)

    async def main() -> None:
        observer = _observer(client)
        observer.learned({"InstanceId": name(1), "State": {"Name": "running"}}, time.monotonic())
        assert (await observer.look([name(1)]))[name(1)]
        assert not client.calls
        await asyncio.sleep(1)
        old = time.monotonic() - 5
        observer.learned({"InstanceId": name(1), "State": {"Name": "stopped"}}, old)
        seen = (await observer.look([name(1)]))[name(1)]
        assert seen is not None
        assert seen["State"]["Name"] == "running", "an older word does not count"

    virtual(main())


def test_unknown_ones_are_sorted_out(virtual, played, refusal) -> None:
    unknown = {name(3), name(7)}

    def answer(_: str, asked: dict[str, Any]) -> Any:
        missing = sorted(unknown.intersection(asked["InstanceIds"]))
        if missing:
            words = f"The instance IDs '{', '.join(missing)}' do not exist"
            return refusal("InvalidInstanceID.NotFound", words)
        return _all("", asked)

    client = played(answer)

    async def main() -> None:
        observer = _observer(client)
        looked = await observer.look([name(i) for i in range(10)])
        assert {one for one, seen in looked.items() if seen is None} == unknown
        with pytest.raises(Gone, match=name(3)):
            await observer.one(name(3))

    virtual(main())


def test_a_refusal_that_names_none_of_ours_ends_the_search(virtual, played, refusal) -> None:
    client = played(lambda *_: refusal("InvalidInstanceID.NotFound", "none of them"))

    async def main() -> None:
        assert (await _observer(client).look([name(1)])) == {name(1): None}

    virtual(main())


def test_a_refusal_is_told_to_all_who_wait_and_the_next_asks_again(
    virtual, played, refusal
) -> None:
    answers: list[Any] = [refusal("AuthFailure", "no", 401)]
    client = played(lambda _, asked: answers.pop() if answers else _all(_, asked))

    async def main() -> None:
        observer = _observer(client)
        looks = (observer.look([name(i)]) for i in range(3))
        outcomes = await asyncio.gather(*looks, return_exceptions=True)
        assert [getattr(one, "code", "") for one in outcomes] == ["AuthFailure"] * 3
        assert (await observer.look([name(1)]))[name(1)]

    virtual(main())


@pytest.mark.parametrize(
    "answer",
    [
        {"Reservations": [{"Instances": [{"InstanceId": name(1), "State": {"Name": "sulking"}}]}]},
        {"Reservations": [{"Instances": [{"InstanceId": name(1)}]}]},
    ],
)
def test_a_state_that_aws_does_not_document_is_told(virtual, played, answer: Any) -> None:
    client = played(lambda *_: answer)

    async def main() -> None:
        found = await _observer(client).one(name(1))
        with pytest.raises(NotReady, match=name(1)):
            observed(found, 8372)

    virtual(main())


def test_a_cancelled_observation_cancels_no_other(virtual, played) -> None:
    client = played(_all, seconds=0.2)

    async def main() -> None:
        observer = _observer(client)
        first, second = (asyncio.create_task(observer.look([name(1)])) for _ in range(2))
        await asyncio.sleep(0.1)
        first.cancel()
        assert (await second)[name(1)]
        assert "waiting=0" in repr(observer)

    virtual(main())


def test_closing_tells_those_who_wait(virtual, played) -> None:
    client = played(_all, seconds=100)

    async def main() -> None:
        observer = _observer(client)
        looking = asyncio.create_task(observer.look([name(1)]))
        await asyncio.sleep(0.1)
        await observer.aclose()
        with pytest.raises(NotReady):
            await looking

    virtual(main())


def test_one_that_comes_in_the_instant_in_which_all_are_answered_is_answered(
    virtual, played
) -> None:
    client = played(_all)

    async def main() -> None:
        observer = _observer(client)

        async def later(steps: int) -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            assert (await observer.look([name(steps)]))[name(steps)]

        await asyncio.gather(*map(later, range(20)))

    virtual(main())


def test_what_is_long_past_is_forgotten(virtual, played) -> None:
    client = played(_all)

    async def main() -> None:
        observer = _observer(client)
        await observer.look([name(i) for i in range(100)])
        observer.changed(name(1))
        await asyncio.sleep(1000)
        await observer.look([name(200)])
        assert "knows=1 " in repr(observer)

    virtual(main())


# What `Api` adds to the SDK


def _api(client: Any) -> Api:
    return Api("123456789012", "eu-west-1", client, Throttle())


def test_pages_are_read_to_the_end(virtual, played) -> None:
    pages: dict[str, Any] = {
        "": _told(name(1), name(2)) | {"NextToken": "more"},
        "more": _told(name(3)) | {"NextToken": "last"},
        "last": {"Reservations": []},
    }
    client = played(lambda _, asked: pages[asked.get("NextToken", "")])

    async def main() -> None:
        found = await _api(client).instances([{"Name": "tag:a", "Values": ["b"]}])
        assert [one["InstanceId"] for one in found] == [name(1), name(2), name(3)]

    virtual(main())
    assert all(sent["MaxResults"] == PAGE for _, _, sent in client.calls)


def test_a_lost_answer_is_asked_for_again_four_times_and_each_time_later(virtual, played) -> None:
    client = played(lambda *_: TimeoutError())

    async def main() -> None:
        with pytest.raises(Fault, match="no answer"):
            await _api(client).call(Action.DESCRIBE_INSTANCES)

    virtual(main())
    times = [at for at, _, _ in client.calls]
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert pauses == pytest.approx([0.4, 0.8, 1.6])


def test_a_refusal_is_not_asked_for_again(virtual, played, refusal) -> None:
    client = played(lambda *_: refusal("InvalidParameterValue"))

    async def main() -> None:
        with pytest.raises(Fault):
            await _api(client).call(Action.RUN_INSTANCES)

    virtual(main())
    assert len(client.calls) == 1


def test_throttling_slows_down_and_ends_some_time(virtual, played, refusal) -> None:
    client = played(lambda *_: refusal("RequestLimitExceeded", "", 503))

    async def main() -> None:
        with pytest.raises((Fault, Throttled)):
            await _api(client).call(Action.START_INSTANCES, InstanceIds=[name(1)])

    virtual(main())
    times = [at for at, _, _ in client.calls]
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert len(times) <= 8
    assert all(pause > 0 for pause in pauses)
    assert max(pauses) > min(pauses)
