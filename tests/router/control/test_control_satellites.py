"""The calls that answer at once: satellites are launched, shown, changed, repaired and ended."""

from __future__ import annotations

import grpc
from controlkit.fakes import GLOBEX, asleep, satellite
from google.protobuf.duration_pb2 import Duration
from waiting import LONG

from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.lifecycle.states import State


async def test_launch_list_get_update_terminate(control, code) -> None:
    house = await control(asleep("zwei"), satellite("theirs", GLOBEX))
    stub, options = house.stub, {"metadata": house.token, "timeout": LONG}
    request = pb.LaunchRequest(name="eins", arch=pb.ARCH_ARM64, size="small")
    made = (await stub.Launch(request, **options)).satellite
    assert (made.org, made.name, made.state) == ("acme", "eins", pb.STATE_LAUNCHING)
    assert made.arch == pb.ARCH_ARM64
    error = await house.refused("Launch", request)
    assert (error.code(), code(error)) == (grpc.StatusCode.ALREADY_EXISTS, "TPR-2003")

    listed = await stub.List(pb.ListRequest(), **options)
    assert [each.name for each in listed.satellites] == ["eins", "zwei"]

    change = pb.UpdateRequest(
        name="zwei", size="", sleep_after=Duration(seconds=60), sleep_mode=pb.SLEEP_MODE_STOP
    )
    changed = (await stub.Update(change, **options)).satellite
    assert changed.sleep_after.ToSeconds() == 60
    assert house.fleet.changes[0].size == ""

    await house.fleet.becomes("zwei", State.RUNNING)
    error = await house.refused("Terminate", pb.TerminateRequest(name="zwei"))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    ended = await stub.Terminate(pb.TerminateRequest(name="zwei", force=True), **options)
    assert ended.satellite.state == pb.STATE_TERMINATING
    await house.fleet.becomes("zwei", State.TERMINATED)
    error = await house.refused("Get", pb.GetRequest(name="zwei"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert {actor for _, _, actor in house.fleet.asked} == {"token:ci"}


async def test_repair(control, code) -> None:
    house = await control(asleep())
    error = await house.refused("Repair", pb.RepairRequest(name="one"))
    assert (error.code(), code(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "TPR-2010")
    await house.fleet.becomes("one", State.FAILED, failure="TPR-2205 i-1")
    shown = await house.stub.Get(pb.GetRequest(name="one"), metadata=house.token, timeout=LONG)
    assert shown.satellite.failure == "TPR-2205 i-1"
    error = await house.refused("Wake", pb.WakeRequest(name="one"))
    assert (error.code(), code(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "TPR-2007")
    reply = await house.stub.Repair(
        pb.RepairRequest(name="one"), metadata=house.token, timeout=LONG
    )
    assert reply.satellite.generation == 2


async def test_the_log_is_told_newest_first(control, code) -> None:
    house = await control(asleep())
    for state in (State.WAKING, State.RUNNING, State.SLEEPING, State.ASLEEP):
        await house.fleet.becomes("one", state)
    request = pb.TransitionsRequest(name="one", limit=3)
    reply = await house.stub.Transitions(request, metadata=house.token, timeout=LONG)
    assert [each.target for each in reply.transitions] == [
        pb.STATE_ASLEEP,
        pb.STATE_SLEEPING,
        pb.STATE_RUNNING,
    ]
    woke = reply.transitions[2]
    assert (woke.actor, woke.reason, woke.took.ToMilliseconds()) == ("token:ci", "asked", 2500)
    error = await house.refused("Transitions", pb.TransitionsRequest(name="one", limit=1001))
    assert (error.code(), code(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "TPR-1304")
