"""Wake and sleep against the faithful EC2: what AWS refuses, loses and does otherwise."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from waiting import LONG

from torpor_provisioner.contract import MachineState, Observed, SleepKind
from torpor_provisioner.ec2 import settling
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.errors import (
    Capacity,
    Denied,
    Gone,
    NotReady,
    ProvisionerError,
    Unanswered,
)
from torpor_provisioner.faithful_ec2.script import Effect, Fault
from torpor_provisioner.faithful_ec2.server import FaithfulEc2
from torpor_provisioner.faithful_ec2.stage import client


def _instance(ref: str) -> str:
    return Ref.parse(ref).instance


def _effective(faithful: FaithfulEc2, action: str, ref: str) -> int:
    return sum(_instance(ref) in call.effective for call in faithful.front.calls.of(action))


async def test_fifty_wakes_on_two_nodes_start_it_once(ec2, spec, faithful, drive) -> None:
    one, other = ec2(), ec2()
    ref = await drive.asleep(one, spec(), SleepKind.HIBERNATED)
    await asyncio.gather(*(node.wake(ref) for node in (one, other) * 25))
    await drive.becomes(one, ref, MachineState.RUNNING)
    assert _effective(faithful, "StartInstances", ref) == 1
    assert len(faithful.front.calls.of("StartInstances", _instance(ref))) < 10, "they share"


async def test_what_is_still_stopping_is_not_ready(ec2, spec, faithful, drive) -> None:
    one = ec2()
    ref = await drive.running(one, spec())
    with drive.timing(stop=LONG):
        await one.sleep(ref, SleepKind.STOPPED)
        with pytest.raises(NotReady, match="stopping"):
            await one.wake(ref)
        await one.sleep(ref, SleepKind.STOPPED)


async def test_a_pending_machine_cannot_be_put_to_sleep_and_need_not_be_woken(
    ec2, spec, faithful, drive
) -> None:
    one = ec2()
    with drive.timing(launch=LONG, appears=0.0):
        ref = await one.launch(spec(), uuid4().hex)
        await one.wake(ref)
        for how in SleepKind:
            with pytest.raises(NotReady, match="pending"):
                await one.sleep(ref, how)


async def test_a_machine_that_cannot_be_found_yet_is_pending_and_not_gone(
    ec2, spec, faithful, drive
) -> None:
    one, other = ec2(), ec2()
    with drive.timing(appears=LONG):
        ref = await one.launch(spec(), uuid4().hex)
        assert (await one.observe([ref]))[ref] == Observed(MachineState.PENDING)
        for call in (one.wake(ref), one.sleep(ref, SleepKind.STOPPED)):
            with pytest.raises(NotReady, match="not yet to be seen"):
                await call
        assert (await other.observe([ref]))[ref].state is MachineState.GONE
    faithful.front.world.machines[_instance(ref)].appears_at = 0.0
    await drive.becomes(one, ref, MachineState.RUNNING)


async def test_too_young_to_hibernate_it_is_stopped_and_the_reason_noted(
    ec2, spec, faithful, drive
) -> None:
    one = ec2()
    with drive.timing(young=LONG):
        ref = await drive.asleep(one, spec(), SleepKind.HIBERNATED)
    seen = (await one.observe([ref]))[ref]
    assert seen.sleep_kind is SleepKind.STOPPED
    assert "not hibernated" in seen.detail
    assert "not ready to hibernate yet" in seen.detail


async def test_while_its_set_up_may_go_on_it_is_stopped_and_the_reason_noted(
    ec2, spec, faithful, drive
) -> None:
    one = ec2(hibernate_after_launch=LONG)
    ref = await drive.asleep(one, spec(), SleepKind.HIBERNATED)
    seen = (await one.observe([ref]))[ref]
    assert seen.sleep_kind is SleepKind.STOPPED
    assert "may not be set up" in seen.detail
    assert _effective(faithful, "StopInstances", ref) == 1


async def test_nothing_is_hibernated_that_has_just_started(ec2, spec, faithful, drive) -> None:
    """Its agent ignores it, and AWS then shuts the machine down; to be stopped it need not wait."""
    one = ec2(hibernate_after_start=LONG)
    ref = await drive.asleep(ec2(), spec(), SleepKind.HIBERNATED)
    await one.wake(ref)
    await drive.becomes(one, ref, MachineState.RUNNING)
    asked = len(faithful.front.calls.of("StopInstances"))
    with pytest.raises(NotReady, match="just started"):
        await one.sleep(ref, SleepKind.HIBERNATED)
    assert len(faithful.front.calls.of("StopInstances")) == asked
    await one.sleep(ref, SleepKind.STOPPED)
    assert (await drive.becomes(one, ref, MachineState.ASLEEP)).sleep_kind is SleepKind.STOPPED


async def test_a_launch_is_told_from_a_later_start(ec2, spec, faithful, drive) -> None:
    """LaunchTime is that of the last start: who went by it alone would never hibernate a machine
    that is woken for less than its set-up takes."""
    ref = await drive.asleep(ec2(), spec(), SleepKind.HIBERNATED)
    [machine] = await _told(faithful, ref)
    launched = machine["NetworkInterfaces"][0]["Attachment"]["AttachTime"]
    before = faithful.front.world.machines[_instance(ref)].starts
    await ec2().wake(ref)
    [machine] = await _told(faithful, ref)
    assert machine["LaunchTime"] >= launched
    assert faithful.front.world.machines[_instance(ref)].starts == before + 1
    machine["LaunchTime"] = launched + timedelta(seconds=100)
    later = launched + timedelta(seconds=110)
    assert settling.is_new(machine, later, 111)
    assert not settling.is_new(machine, later, 109)
    assert settling.just_started(machine, later, 11)
    assert not settling.just_started(machine, later, 9)


def test_a_clock_that_is_far_behind_takes_no_machine_for_a_new_one() -> None:
    """It would hold every build that comes for a machine which is told to sleep, until the clock
    has caught up."""
    started = datetime(2026, 11, 21, tzinfo=UTC)
    machine = {"LaunchTime": started}
    for behind, new in ((59, True), (61, False), (86_400, False)):
        now = started - timedelta(seconds=behind)
        assert settling.just_started(machine, now, 60) is new
        assert settling.is_new(machine, now, 60) is new


def test_a_root_that_was_replaced_has_its_set_up_before_it() -> None:
    launched = datetime(2026, 11, 1, tzinfo=UTC)
    updated = launched + timedelta(days=7)
    machine = {
        "LaunchTime": updated + timedelta(seconds=5),
        "RootDeviceName": "/dev/xvda",
        "NetworkInterfaces": [{"Attachment": {"AttachTime": launched}}],
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda", "Ebs": {"AttachTime": updated}},
            {"DeviceName": "/dev/sdf", "Ebs": {"AttachTime": launched}},
        ],
    }
    assert settling.is_new(machine, updated + timedelta(seconds=299), 300)
    assert not settling.is_new(machine, updated + timedelta(seconds=301), 300)
    assert settling.is_new({"LaunchTime": updated}, updated, 1), "where AWS tells no more"


async def _told(faithful: FaithfulEc2, ref: str) -> list[dict[str, Any]]:
    ec2 = client(faithful.endpoint)
    told = await asyncio.to_thread(ec2.describe_instances, InstanceIds=[_instance(ref)])
    return told["Reservations"][0]["Instances"]  # type: ignore[return-value]


async def test_never_set_up_to_hibernate_it_is_stopped_and_the_reason_noted(
    ec2, spec, drive
) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec(hibernate=False), SleepKind.HIBERNATED)
    seen = (await one.observe([ref]))[ref]
    assert seen.sleep_kind is SleepKind.STOPPED
    assert "not configured at launch" in seen.detail


async def test_the_note_does_not_outlive_the_next_sleep(ec2, spec, faithful, drive) -> None:
    one = ec2()
    with drive.timing(young=LONG):
        ref = await drive.asleep(one, spec(), SleepKind.HIBERNATED)
    await one.wake(ref)
    await drive.becomes(one, ref, MachineState.RUNNING)
    await drive.ready(one.sleep, ref, SleepKind.HIBERNATED)
    seen = await drive.becomes(one, ref, MachineState.ASLEEP)
    assert seen.sleep_kind is SleepKind.HIBERNATED
    assert "not hibernated" not in seen.detail


async def test_whether_a_hibernation_kept_the_memory_is_not_aws_to_say(
    ec2, spec, faithful, drive
) -> None:
    one = ec2()
    ref = await drive.running(one, spec())
    faithful.front.script.faults.append(
        Fault("StopInstances", Effect.SHUT_DOWN, instance=_instance(ref))
    )
    await one.sleep(ref, SleepKind.HIBERNATED)
    seen = await drive.becomes(one, ref, MachineState.ASLEEP)
    assert seen.sleep_kind is SleepKind.HIBERNATED, "what was asked for"


@pytest.mark.parametrize("action", ["StartInstances", "StopInstances"])
async def test_a_lost_answer_is_looked_into_and_nothing_is_done_twice(
    ec2, spec, faithful, action: str, drive
) -> None:
    one = ec2()
    ref = await (drive.asleep if action == "StartInstances" else drive.running)(one, spec())
    faithful.front.script.faults.append(Fault(action, Effect.LOSE))
    if action == "StartInstances":
        await one.wake(ref)
    else:
        await one.sleep(ref, SleepKind.HIBERNATED)
    assert _effective(faithful, action, ref) == 1
    assert any(call.lost for call in faithful.front.calls.of(action, _instance(ref)))


@pytest.mark.parametrize(
    ("code", "status"),
    [("InternalError", 500), ("Unavailable", 503), ("RequestLimitExceeded", 503)],
)
async def test_aws_own_trouble_is_tried_again(
    ec2, spec, faithful, code: str, status: int, drive
) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec())
    fault = Fault("StartInstances", code=code, message="Sorry.", status=status, times=2)
    faithful.front.script.faults.append(fault)
    await one.wake(ref)
    assert _effective(faithful, "StartInstances", ref) == 1
    assert fault.times == 0


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [
        ("UnauthorizedOperation", 403, Denied),
        ("OperationNotPermitted", 400, Denied),
        ("InvalidInstanceID.NotFound", 400, Gone),
    ],
)
async def test_refusals_are_told_in_the_contracts_words(
    ec2, spec, faithful, code: str, status: int, meaning: type[ProvisionerError], drive
) -> None:
    one, other = ec2(), ec2()
    ref = await drive.asleep(one, spec())
    told = Fault("StartInstances", code=code, message="The words of AWS.", status=status)
    faithful.front.script.faults.append(told)
    with pytest.raises(meaning):
        await other.wake(ref)


async def test_no_capacity_is_told(ec2, spec, faithful, stage, drive) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec())
    faithful.front.script.capacity["m7i.large", f"{stage.region}a"] = 0
    with pytest.raises(Capacity, match="InsufficientInstanceCapacity"):
        await one.wake(ref)
    assert (await one.observe([ref]))[ref].state is MachineState.ASLEEP


async def test_a_stopped_machine_takes_another_size_where_its_own_is_sold_out(
    ec2, spec, faithful, stage, drive
) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec(alternatives="m6i.large,m5.large"))
    zone = f"{stage.region}a"
    faithful.front.script.capacity |= {("m7i.large", zone): 0, ("m6i.large", zone): 0}
    await one.wake(ref)
    await drive.becomes(one, ref, MachineState.RUNNING)
    assert faithful.front.world.machines[_instance(ref)].size == "m5.large"
    await drive.ready(one.sleep, ref, SleepKind.STOPPED)
    await drive.becomes(one, ref, MachineState.ASLEEP)
    faithful.front.script.clear()
    await one.wake(ref)
    assert faithful.front.world.machines[_instance(ref)].size == "m7i.large", "it has its own again"


async def test_where_no_size_has_room_it_keeps_its_own(ec2, spec, faithful, stage, drive) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec(alternatives="m6i.large,m5.large"))
    zone = f"{stage.region}a"
    for size in ("m7i.large", "m6i.large", "m5.large"):
        faithful.front.script.capacity[size, zone] = 0
    with pytest.raises(Capacity):
        await one.wake(ref)
    assert faithful.front.world.machines[_instance(ref)].size == "m7i.large"


async def test_a_size_that_cannot_be_given_back_now_stops_no_wake(
    ec2, spec, faithful, stage, drive
) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec(alternatives="m6i.large"))
    faithful.front.script.capacity["m7i.large", f"{stage.region}a"] = 0
    await one.wake(ref)
    await drive.becomes(one, ref, MachineState.RUNNING)
    await drive.ready(one.sleep, ref, SleepKind.STOPPED)
    await drive.becomes(one, ref, MachineState.ASLEEP)
    faithful.front.script.faults.append(
        Fault("ModifyInstanceAttribute", code="IncorrectInstanceState", status=400)
    )
    await one.wake(ref)
    assert faithful.front.world.machines[_instance(ref)].size == "m6i.large"


async def test_a_hibernated_machine_never_takes_another_size(
    ec2, spec, faithful, stage, drive
) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec(alternatives="m6i.large"), SleepKind.HIBERNATED)
    faithful.front.script.capacity["m7i.large", f"{stage.region}a"] = 0
    with pytest.raises(Capacity):
        await one.wake(ref)
    assert not faithful.front.calls.of("ModifyInstanceAttribute", _instance(ref))


async def test_a_machine_in_a_foreign_account_is_gone(ec2) -> None:
    ref = "999999999999/eu-west-1/i-0123456789abcdef0"
    one = ec2()
    assert (await one.observe([ref]))[ref].state is MachineState.GONE
    with pytest.raises(Gone, match="no place of this deployment is in account 999999999999"):
        await one.wake(ref)
    await one.terminate(ref)


@pytest.mark.parametrize("ref", ["", "i-0123456789abcdef0", "local-00", "1/eu/i-0", "a/b/c/d"])
async def test_what_is_no_ref_is_gone(ec2, ref: str) -> None:
    one = ec2()
    assert (await one.observe([ref]))[ref].state is MachineState.GONE
    with pytest.raises(Gone, match="no machine"):
        await one.wake(ref)
    await one.terminate(ref)


async def test_an_endpoint_that_does_not_answer_is_told(ec2, settings) -> None:
    one = ec2(endpoint="http://127.0.0.1:9")
    with pytest.raises(Unanswered, match="no answer"):
        await one.wake("123456789012/eu-west-1/i-0123456789abcdef0")
