"""EC2's own word of changes, from a real SQS queue (moto's)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import until

from torpor_provisioner.contract import MachineState
from torpor_provisioner.ec2 import feed
from torpor_provisioner.ec2.feed import Feed, read
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.faithful_ec2.stage import KEYS

REF = Ref("123456789012", "eu-west-1", "i-0123456789abcdef0")


def _event(ref: Ref = REF, state: str = "running") -> str:
    """As in the Amazon EC2 User Guide, "Automate Amazon EC2 using EventBridge"."""
    return json.dumps(
        {
            "id": "7bf73129-1428-4cd3-a780-95db273d1602",
            "detail-type": "EC2 Instance State-change Notification",
            "source": "aws.ec2",
            "account": ref.account,
            "time": "2021-11-11T21:29:54Z",
            "region": ref.region,
            "resources": [f"arn:aws:ec2:{ref.region}:{ref.account}:instance/{ref.instance}"],
            "detail": {"instance-id": ref.instance, "state": state},
        }
    )


def test_an_event_names_a_machine() -> None:
    assert read(_event()) == REF


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "[]",
        "null",
        "{}",
        '{"account": 1, "region": 2, "detail": 3}',
        _event(REF._replace(instance="i-1; drop")),
        _event(REF._replace(account="me")),
        "[" * 100_000,
    ],
)
def test_any_other_message_names_none(body: str) -> None:
    assert read(body) is None


@given(st.text())
def test_whatever_it_is_it_is_read(body: str) -> None:
    assert read(body) is None


@pytest.fixture
def sqs(stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(feed, "LONG_POLL", 0)
    monkeypatch.setattr(feed, "BACKOFF", 0.05)
    made = boto3.client("sqs", endpoint_url=stage.endpoint, region_name=stage.region, **KEYS)  # type: ignore[call-overload]
    yield made
    made.close()


@pytest.fixture
def queue(sqs) -> str:
    return str(sqs.create_queue(QueueName="torpor")["QueueUrl"])


async def test_an_event_voids_what_was_seen_and_is_taken_from_the_queue(
    ec2, spec, drive, sqs, queue: str
) -> None:
    one = ec2(feed=queue)
    ref = await drive.running(one, spec())
    [site] = one._sites.values()
    await until(lambda: site.observer.fed)
    asked = site.observer._changed.get(Ref.parse(ref).instance)
    for body in ("noise", _event(Ref.parse(ref)), _event()):
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    await until(lambda: site.observer._changed.get(Ref.parse(ref).instance) != asked)
    await until(lambda: _left(sqs, queue) == 0)
    assert (await one.observe([ref]))[ref].state is MachineState.RUNNING


async def test_while_the_queue_is_silent_looking_is_as_often_as_without_one(
    ec2, spec, drive, sqs, queue: str
) -> None:
    one = ec2(feed=queue)
    await drive.running(one, spec())
    [site] = one._sites.values()
    await until(lambda: site.observer.fed)
    sqs.delete_queue(QueueUrl=queue)
    await until(lambda: not site.observer.fed)
    sqs.create_queue(QueueName="torpor")
    await until(lambda: site.observer.fed)


async def test_closing_ends_it(ec2, spec, drive, sqs, queue: str) -> None:
    one = ec2(feed=queue)
    await drive.running(one, spec())
    await until(lambda: one._fed)
    await one.aclose()
    assert not one._fed


async def test_a_queue_that_cannot_be_reached_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "BACKOFF", 0.01)

    async def connect() -> Any:
        raise OSError("no route")

    alive: list[bool] = []
    running = asyncio.create_task(
        Feed("https://sqs.invalid/q", connect, lambda ref: None, alive.append).run()
    )
    await until(lambda: len(alive) > 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not any(alive)
    assert "https://sqs.invalid/q> is silent: no route" in caplog.text


def _left(sqs: Any, queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(told[name]) for name in names)
