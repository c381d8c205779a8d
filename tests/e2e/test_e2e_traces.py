"""Spans of real nodes, as a real OTLP receiver gets them."""

from __future__ import annotations

import asyncio

from clientkit.untyped import untyped
from e2ekit.deployment import Node, Satellite
from tracekit.receiver import attributes, receiving
from waiting import LONG, until

from torpor_provisioner.contract import SleepKind

CALLERS = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
SAMPLED, UNSAMPLED = (f"00-{CALLERS[0]}-{CALLERS[1]}-{flag}" for flag in ("01", "00"))
METHOD = "/torpor.test.Shapes/Metadata"


async def called(node: Node, satellite: Satellite, traceparent: str = "") -> str | None:
    """The context that the worker saw."""
    sent = (*satellite.metadata, *((("traceparent", traceparent),) if traceparent else ()))
    async with node.channel() as channel:
        call = untyped(channel).unary_unary(METHOD)(b"", metadata=sent, timeout=LONG)
        await call
        trailers = dict(await call.trailing_metadata())
    return trailers.get("seen-traceparent")


def held(node: Node) -> int:
    """How many requests have begun to wait there, by its log."""
    return node.log.read_text().count(" torpor.door: held ")


async def test_a_wake_and_those_who_wait_for_it(torpor, shapes, tmp_path) -> None:
    """On one node with a context and without, on another with one that is not sampled; the second
    gives workers its own."""
    (gate := tmp_path / "gate").touch()  # the worker starts where it is there
    worker = f"sh -c 'while [ ! -e {gate} ]; do sleep 0.1; done; exec {shapes}'"
    deployment = await torpor(0, LOCAL_WORKER=worker)
    async with receiving() as receiver:
        options = ("--traces-to", receiver.url, "--log-level", "debug")
        first = await deployment.node(*options)
        second = await deployment.node(*options, "--traces-to-workers")
        satellite = await deployment.satellite("acme/one", asleep=SleepKind.STOPPED)
        gate.unlink()
        calls = asyncio.gather(
            called(first, satellite, SAMPLED),
            called(first, satellite),
            called(second, satellite, UNSAMPLED),
            called(second, satellite, SAMPLED),
        )
        await until(lambda: [held(first), held(second)] == [2, 2])
        gate.touch()
        seen = await calls
        await called(first, satellite, SAMPLED)  # the satellite is awake
        requests = await receiver.gets("held request", 3)
        [wake] = await receiver.gets("wake", 1)

    assert seen[:3] == [SAMPLED, None, UNSAMPLED]
    assert len(requests) == 3, "neither the unsampled nor the hot one"
    assert {attributes(each)["torpor.outcome"] for each in requests} == {"released"}
    for request in requests:
        about = attributes(request)
        assert about["torpor.satellite"] == "acme/one"
        assert about["torpor.caller"] == "token:test"
        assert about["torpor.wake_kind"] == "started"
        assert about["rpc.method"] == METHOD.removeprefix("/")
        [link] = request.links
        assert (link.trace_id, link.span_id) == (wake.trace_id, wake.span_id)
        parts = receiver.children(request)
        assert parts.keys() == {"decide", "wait", "release"}
        [[decide], [wait], [release]] = parts["decide"], parts["wait"], parts["release"]
        assert request.start_time_unix_nano == decide.start_time_unix_nano
        assert decide.end_time_unix_nano == wait.start_time_unix_nano
        assert wait.end_time_unix_nano == release.start_time_unix_nano
        assert release.end_time_unix_nano == request.end_time_unix_nano

    of_caller = [each for each in requests if each.trace_id.hex() == CALLERS[0]]
    [root] = [each for each in requests if each not in of_caller]
    assert [each.parent_span_id.hex() for each in of_caller] == [CALLERS[1]] * 2
    assert not root.parent_span_id
    [passed] = [each for each in of_caller if each.span_id.hex() in seen[3]]
    assert seen[3] == f"00-{CALLERS[0]}-{passed.span_id.hex()}-01"

    assert not wake.parent_span_id
    about = attributes(wake)
    assert (about["torpor.event"], about["torpor.wake_kind"]) == ("woke", "started")
    linked = {(link.trace_id, link.span_id) for link in wake.links}
    assert linked
    assert linked < {(each.trace_id, each.span_id) for each in requests}, "of the node that woke it"
    assert about["torpor.requests"] == len(linked)
    steps = receiver.children(wake)
    assert {"claim", "cloud: wake", "cloud: observe", "boot", "probe"} <= steps.keys()
    for [step] in (steps[name] for name in ("claim", "cloud: wake", "boot", "probe")):
        assert wake.start_time_unix_nano <= step.start_time_unix_nano <= step.end_time_unix_nano
        assert step.end_time_unix_nano <= wake.end_time_unix_nano
    assert {each["service.name"] for each in receiver.resources} == {"torpor"}


async def test_a_wake_that_fails(torpor) -> None:
    """The request is an error, with its code."""
    deployment = await torpor(0, LOCAL_WORKER_BROKEN="false", HOLD_BUDGET=2)
    async with receiving() as receiver:
        node = await deployment.node("--traces-to", receiver.url)
        satellite = await deployment.satellite(
            "acme/one", worker="broken", asleep=SleepKind.STOPPED, answers_first=False
        )
        await asyncio.gather(called(node, satellite, SAMPLED), return_exceptions=True)
        [request] = await receiver.gets("held request", 1)
    about = attributes(request)
    assert about["torpor.outcome"] == "refused"
    assert about["torpor.code"].startswith("TPR-2")
    assert request.status.code == request.status.STATUS_CODE_ERROR
    assert about["torpor.code"] in request.status.message
