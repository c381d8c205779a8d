"""What torpor.v1 has been given since its first clients: masks, filters, pages, labels, details."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from controlkit.fakes import NOON, asleep, satellite
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]
from grpc_status import rpc_status

from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.lifecycle.keeping import Keeper, Streams
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind

LABELLED = {"team": "web", "tier": "ci"}


async def test_a_list_is_chosen_by_state_and_labels(control: Any) -> None:
    made = await control(
        asleep("a", labels=LABELLED), satellite("b", labels={"team": "web"}), asleep("c")
    )

    async def names(**chosen: Any) -> list[str]:
        reply = await made.stub.List(pb.ListRequest(**chosen), metadata=made.token)
        return [each.name for each in reply.satellites]

    assert await names() == ["a", "b", "c"]
    assert await names(states=[pb.STATE_ASLEEP]) == ["a", "c"]
    assert await names(labels={"team": "web"}) == ["a", "b"]
    assert await names(labels=LABELLED) == ["a"]
    assert await names(states=[pb.STATE_RUNNING], labels=LABELLED) == []


async def test_pages_together_are_the_list(control: Any) -> None:
    made = await control(*(asleep(f"s{number}") for number in range(5)))
    seen, token = [], ""
    while True:
        request = pb.ListRequest(page_size=2, page_token=token)
        reply = await made.stub.List(request, metadata=made.token)
        seen.append([each.name for each in reply.satellites])
        if not (token := reply.next_page_token):
            break
    assert seen == [["s0", "s1"], ["s2", "s3"], ["s4"]]


@pytest.mark.parametrize("bad", [{"page_size": -1}, {"page_size": 1001}, {"page_token": "../x"}])
async def test_a_page_that_cannot_be(control: Any, bad: dict[str, Any]) -> None:
    made = await control(asleep("one"))
    error = await made.refused("List", pb.ListRequest(**bad))
    assert dict(error.trailing_metadata())["x-torpor-code"] == "TPR-1145"


async def test_a_mask_says_what_becomes_as_it_is_in_the_request(control: Any) -> None:
    made = await control(satellite("one", size="big", settings={"a": "1", "b": "2"}))
    request = pb.UpdateRequest(name="one", settings={"b": "3"}, size="ignored")
    request.update_mask.paths.extend(["settings", "sleep_mode"])
    await made.stub.Update(request, metadata=made.token)
    [changes] = made.fleet.changes
    assert changes.settings == {"a": "", "b": "3"}
    assert changes.sleep_mode is SleepMode.AUTO
    assert (changes.size, changes.sleep_after) == (None, None)


async def test_a_masked_label_that_is_left_out_goes(control: Any) -> None:
    made = await control(satellite("one", labels=LABELLED))
    request = pb.UpdateRequest(name="one", labels={"team": "api"})
    request.update_mask.paths.append("labels")
    reply = await made.stub.Update(request, metadata=made.token)
    assert dict(reply.satellite.labels) == {"team": "api"}


async def test_a_masked_schedule_is_set_and_removed(control: Any) -> None:
    made = await control(satellite("one"))
    for schedule in ("Mon 08:00-09:00 UTC", ""):
        request = pb.UpdateRequest(name="one", schedule=schedule)
        request.update_mask.paths.append("schedule")
        reply = await made.stub.Update(request, metadata=made.token)
        assert reply.satellite.schedule == schedule


async def test_a_mask_of_something_else_is_refused(control: Any) -> None:
    made = await control(satellite("one"))
    request = pb.UpdateRequest(name="one", size="x")
    request.update_mask.paths.append("arch")
    error = await made.refused("Update", request)
    assert dict(error.trailing_metadata())["x-torpor-code"] == "TPR-1146"
    assert not made.fleet.changes


async def test_labels_are_bounded(control: Any) -> None:
    made = await control()
    for labels in ({"k k": "v"}, {"k": "v" * 64}, {f"k{n}": "v" for n in range(33)}):
        error = await made.refused("Launch", pb.LaunchRequest(name="one", labels=labels))
        assert dict(error.trailing_metadata())["x-torpor-code"] == "TPR-2015"
    assert not made.fleet.launched


async def test_a_failure_comes_as_a_status_with_details(control: Any) -> None:
    made = await control()
    error = await made.refused("Get", pb.GetRequest(name="none"))
    status = rpc_status.from_call(error)
    assert status is not None
    [detail] = status.details
    info = ErrorInfo()
    assert detail.Unpack(info)
    assert (info.reason, info.domain) == ("TPR-2009", "torpor")
    assert info.metadata["detail"] == "acme/none"
    assert info.metadata["cause"]
    assert info.metadata["remedy"]
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_explain_says_whose_streams_keep_it_awake(control: Any) -> None:
    since = datetime(2026, 5, 1, 12, 3, 40, tzinfo=UTC)
    keeper = Keeper(
        node_id=uuid4(),
        count=3,
        streams=(Streams("token:ci", "/a.B/C", "10.0.0.7", 2, since),),
        reported_at=since,
        silent_for=timedelta(),
        until=since,
        left=timedelta(seconds=40),
    )
    made = await control(satellite("one", idle_since=None, keepers=(keeper,)))
    reply = await made.stub.Explain(pb.ExplainRequest(name="one"), metadata=made.token)
    assert reply.summary.startswith("acme/one is running for ")
    assert (
        "It is kept awake by 2 streams of token:ci /a.B/C from 10.0.0.7 since 2026-05-01 12:03:40"
        " UTC; 1 more. It will sleep 30m after the last of them has ended." in reply.summary
    )
    [told] = reply.satellite.keepers
    assert (told.streams, told.open[0].caller, told.open[0].streams) == (3, "token:ci", 2)
    assert not told.HasField("silent_for")


async def test_explain_says_who_put_it_to_sleep_and_what_the_next_wake_is(control: Any) -> None:
    made = await control(satellite("one", usual_wake=timedelta(seconds=20)))
    await made.fleet.becomes("one", State.SLEEPING)
    slept = await made.fleet.becomes("one", State.ASLEEP, sleep_kind=asleep().sleep_kind)
    reply = await made.stub.Explain(pb.ExplainRequest(name="one"), metadata=made.token)
    assert reply.summary.startswith("acme/one is asleep (hibernated) for ")
    assert "by token:ci (asked)" in reply.summary
    assert "wakes it, which resumes its memory and takes up to 20s usually." in reply.summary
    assert [each.event for each in reply.transitions] == ["asleep", "sleeping"]
    assert slept.state_since > NOON


async def test_a_change_on_the_way_does_not_hide_how_it_woke(control: Any) -> None:
    made = await control(asleep("one"))
    await made.fleet.becomes("one", State.WAKING, epoch=8)
    await made.fleet.becomes("one", State.RUNNING, wake_kind=WakeKind.RESUMED)
    made.fleet.log[0] = replace(made.fleet.log[0], took=timedelta(seconds=7))
    await made.fleet.becomes("one", State.RUNNING)  # another label, say
    reply = await made.stub.Explain(pb.ExplainRequest(name="one"), metadata=made.token)
    assert reply.transitions[0].source == reply.transitions[0].target
    assert "which took 7s" in reply.summary


class OldClient:
    """A client as it was made from the .proto of commit 7a00f10."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        octets = (Path(__file__).parent / "fixtures/torpor_v1_7a00f10.binpb").read_bytes()
        pool = descriptor_pool.DescriptorPool()
        for each in descriptor_pb2.FileDescriptorSet.FromString(octets).file:
            pool.Add(each)
        self._service = pool.FindServiceByName("torpor.v1.Satellites")
        self._channel = channel

    def call(self, rpc: str, /, **fields: Any) -> Any:
        method = self._service.methods_by_name[rpc]
        request = message_factory.GetMessageClass(method.input_type)
        reply = message_factory.GetMessageClass(method.output_type)
        make = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        path = f"/torpor.v1.Satellites/{rpc}"
        called = make(path, request.SerializeToString, reply.FromString)
        return called(request(**fields), metadata=(("authorization", "Bearer acme"),))


async def test_the_client_of_before_goes_on_working(control: Any) -> None:
    made = await control(asleep("one", labels=LABELLED), by_itself=True)
    old = OldClient(made.channel)
    launched = (await old.call("Launch", name="two", settings={"a": "1"})).satellite
    assert (launched.name, launched.state) == ("two", pb.STATE_LAUNCHING)
    assert [each.name for each in (await old.call("List")).satellites] == ["one", "two"]
    assert [each.satellite.state async for each in old.call("Wake", name="one")][-1] == (
        pb.STATE_RUNNING
    )
    changed = await old.call("Update", name="one", size="big", settings={"k": "v"})
    assert changed.satellite.size == "big"
    assert made.fleet.named("one").labels == LABELLED
    assert (await old.call("Get", name="one")).satellite.size == "big"
    assert [each.satellite.state async for each in old.call("Sleep", name="one")][-1] == (
        pb.STATE_ASLEEP
    )
    assert (await old.call("Transitions", name="one")).transitions[0].event
    ended = (await old.call("Terminate", name="one", force=True)).satellite
    assert ended.state == pb.STATE_TERMINATING
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await old.call("Get", name="none")
    assert unknown.value.details().startswith("TPR-2009 ")
