"""The faithful EC2's own words, as a chaos run in another process says them."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from waiting import until

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.errors import Capacity, Quota

Say = Callable[..., Any]


@pytest.fixture
def say(faithful) -> Say:
    def say(method: str, word: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{faithful.endpoint}/faithful/{word}",
            data=json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    return say


async def test_machines_and_calls_are_told(say, ec2, spec, drive) -> None:
    ref = await drive.running(ec2(), spec())
    [machine] = say("GET", "machines")
    assert machine["instance"] == Ref.parse(ref).instance
    assert machine["phase"] == "running"
    [launched] = [call for call in say("GET", "calls") if call["action"] == "RunInstances"]
    assert launched["effective"] == [machine["instance"]]
    assert launched["code"] == ""
    assert not launched["lost"]


async def test_callers_are_told_apart_and_what_they_were_shown(
    say, ec2, spec, drive, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "node-1")
    ref = await drive.running(ec2(), spec())
    instance = Ref.parse(ref).instance
    looks = [call for call in say("GET", "calls") if call["action"] == "DescribeInstances"]
    assert looks[-1]["caller"] == "node-1"
    assert looks[-1]["shown"] == {instance: "running"}
    monkeypatch.delenv("AWS_SDK_UA_APP_ID")
    await ec2().observe([ref])
    assert say("GET", "calls")[-1]["caller"] == ""


async def test_a_fault_meets_so_many_calls(say, ec2, spec) -> None:
    told = {"action": "RunInstances", "code": "VcpuLimitExceeded", "status": 400, "times": 1}
    say("POST", "faults", told)
    one = ec2()
    with pytest.raises(Quota):
        await one.launch(spec(), uuid4().hex)
    await one.launch(spec(), uuid4().hex)


async def test_capacity_goes_and_comes_back(say, ec2, spec, stage) -> None:
    one = ec2()
    zones = [f"{stage.region}{zone}" for zone in "ab"]
    for zone in zones:
        say("PUT", "capacity", {"size": "m7i.large", "zone": zone, "left": 0})
    with pytest.raises(Capacity):
        await one.launch(spec(), uuid4().hex)
    say("PUT", "capacity", {"size": "m7i.large", "zone": zones[1], "left": None})
    await one.launch(spec(), uuid4().hex)
    say("DELETE", "script")
    await one.launch(spec(), uuid4().hex)


def test_times_trust_and_limits_are_set(say, faithful) -> None:
    say("PUT", "timing", {"launch": 0.5})
    assert faithful.front.world.timing.launch == 0.5
    say("PUT", "trust", {"role": "arn:aws:iam::1:role/a", "external_id": "x"})
    assert faithful.front.trust["arn:aws:iam::1:role/a"] == "x"
    say("PUT", "limits", {"on": False})
    assert not faithful.front.limits.on
    say("PUT", "limits", {"on": True})
    key = ("123456789012", "eu-west-1", "RunInstances")
    spent = dict(zip(("account", "region", "action"), key, strict=True))
    say("POST", "spent", spent | {"resources": 1000})
    now = faithful.front.world.clock.now()
    assert not faithful.front.limits.pass_(key, 10, now)
    say("DELETE", "script")
    assert faithful.front.limits.pass_(key, 10, now)


@pytest.mark.parametrize(
    ("method", "word", "body", "status"),
    [
        ("GET", "nonsense", None, 404),
        ("POST", "calls", None, 404),
        ("POST", "faults", {}, 400),
        ("POST", "faults", {"action": "RunInstances", "effect": "explode"}, 400),
        ("PUT", "timing", {"lunch": 1}, 400),
        ("PUT", "capacity", {"size": "m7i.large"}, 400),
        ("PUT", "trust", [], 400),
        ("PUT", "limits", None, 400),
    ],
)
def test_what_it_does_not_understand(say, method: str, word: str, body: Any, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        say(method, word, body)
    assert refused.value.code == status
    refused.value.close()


async def test_a_call_that_hangs_does_nothing_until_its_caller_goes(
    say, ec2, spec, drive, faithful
) -> None:
    one = ec2()
    ref = await drive.running(one, spec())
    say("POST", "faults", {"action": "StopInstances", "effect": "hang"})
    call = asyncio.create_task(one.sleep(ref, SleepKind.STOPPED))
    await _logged(say, "StopInstances")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    [stop] = [each for each in say("GET", "calls") if each["action"] == "StopInstances"]
    assert (stop["effective"], stop["code"], stop["lost"]) == ([], "(hung)", True)
    assert (await one.observe([ref]))[ref].state is MachineState.RUNNING


async def test_an_answer_that_comes_late_hides_no_effect(say, ec2, spec, drive) -> None:
    one = ec2()
    ref = await drive.running(one, spec())
    say("POST", "faults", {"action": "StopInstances", "effect": "late", "seconds": 60})
    call = asyncio.create_task(one.sleep(ref, SleepKind.STOPPED))
    await _logged(say, "StopInstances")
    while (await ec2().observe([ref]))[ref].state is MachineState.RUNNING:
        await asyncio.sleep(0.05)
    assert not call.done()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def _logged(say, action: str) -> None:
    await until(lambda: [call for call in say("GET", "calls") if call["action"] == action])
