"""Launches against the faithful EC2: once for each token, and where there is room."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from torpor_provisioner.contract import Arch, MachineState, SleepKind
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.errors import Capacity, Invalid, ProvisionerError, Quota, Unanswered
from torpor_provisioner.faithful_ec2.script import Effect, Fault
from torpor_provisioner.faithful_ec2.stage import client


def _machine(faithful, ref: str):
    return faithful.front.world.machines[Ref.parse(ref).instance]


async def test_what_stands_in_ec2_after_a_launch(ec2, spec, stage, drive) -> None:
    wanted = spec(name="ci", size="m7i.large", cache_gib="50")
    ref = await drive.running(ec2(), wanted)
    plain = client(stage.endpoint)
    [held] = plain.describe_instances(InstanceIds=[Ref.parse(ref).instance])["Reservations"]
    [told] = held["Instances"]
    tags = {tag["Key"]: tag["Value"] for tag in told["Tags"]}
    assert tags["torpor:satellite-id"] == str(wanted.satellite_id)
    assert tags["Name"] == "acme/ci"
    assert told["HibernationOptions"] == {"Configured": True}
    assert told["MetadataOptions"]["HttpTokens"] == "required"
    assert told["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert "PublicIpAddress" not in told
    assert told["SubnetId"] == stage.subnets[0]
    volumes = plain.describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [told["InstanceId"]]}]
    )["Volumes"]
    assert all(one["Encrypted"] for one in volumes)
    assert {one["VolumeType"] for one in volumes} == {"gp3"}
    assert max(one["Size"] for one in volumes) == 50
    assert min(one["Size"] for one in volumes) >= 16 + 8


async def test_a_full_zone_is_left_for_the_next(ec2, spec, faithful, stage) -> None:
    faithful.front.script.capacity["m7i.large", f"{stage.region}a"] = 0
    ref = await ec2().launch(spec(), uuid4().hex)
    assert _machine(faithful, ref).zone == f"{stage.region}b"
    codes = [call.code for call in faithful.front.calls.of("RunInstances")]
    assert codes == ["InsufficientInstanceCapacity", ""]


async def test_full_zones_are_left_for_another_size(ec2, spec, faithful, stage) -> None:
    for zone in "ab":
        faithful.front.script.capacity["m7i.large", f"{stage.region}{zone}"] = 0
    ref = await ec2().launch(spec(alternatives="m6i.large"), uuid4().hex)
    assert _machine(faithful, ref).size == "m6i.large"
    assert len(faithful.front.calls.of("RunInstances")) == 3


async def test_no_room_anywhere_is_told(ec2, spec, faithful, stage) -> None:
    for zone in "ab":
        faithful.front.script.capacity["m7i.large", f"{stage.region}{zone}"] = 0
    with pytest.raises(Capacity, match=f"sufficient m7i.large capacity .*{stage.region}b"):
        await ec2().launch(spec(), uuid4().hex)


async def test_a_lost_answer_makes_no_second_machine(ec2, spec, faithful) -> None:
    faithful.front.script.faults.append(Fault("RunInstances", Effect.LOSE))
    one = ec2()
    ref = await one.launch(spec(), uuid4().hex)
    made = [name for call in faithful.front.calls.of("RunInstances") for name in call.effective]
    assert made == [Ref.parse(ref).instance]


async def test_lost_answers_only_and_a_node_that_dies_then_make_no_second_machine(
    ec2, spec, faithful, stage, drive
) -> None:
    """The zone fills up meanwhile, so that the next attempt has another ClientToken."""
    wanted, token = spec(), uuid4().hex
    faithful.front.script.faults.append(Fault("RunInstances", Effect.LOSE, times=4))
    with pytest.raises(Unanswered, match="no answer"):
        await ec2().launch(wanted, token)
    [first] = faithful.front.world.machines
    faithful.front.script.capacity["m7i.large", f"{stage.region}a"] = 0
    faithful.front.world.machines[first].appears_at = 0.0
    ref = await ec2().launch(wanted, token)
    assert Ref.parse(ref).instance == first


async def test_a_terminated_machine_is_not_found_again(ec2, spec, drive) -> None:
    one, token, wanted = ec2(), uuid4().hex, spec()
    ref = await one.launch(wanted, token)
    await drive.becomes(one, ref, MachineState.RUNNING)
    await one.terminate(ref)
    await drive.becomes(one, ref, MachineState.GONE)
    assert ref not in await one.owned()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": "m9z.large"}, "m9z.large"),
        ({"size": "m7g.large"}, "m7g.large is arm64, not x86_64"),
        ({"alternatives": "m7g.large"}, "m7g.large is arm64, not x86_64"),
        ({"image": "ami-00000000000000000"}, "ami-00000000000000000"),
        ({"arch": Arch.ARM64}, "m7i.large is x86_64.*, not arm64"),
    ],
)
async def test_what_ec2_does_not_have_is_invalid(ec2, spec, faithful, changes, told) -> None:
    with pytest.raises(Invalid, match=told):
        await ec2().launch(spec(**changes), uuid4().hex)
    assert not faithful.front.calls.of("RunInstances")


async def test_an_image_of_somebody_unknown_is_invalid(ec2, spec, stage, faithful) -> None:
    named = spec(image=stage.images["x86_64"])
    one = ec2(image_owners=frozenset({"self"}))
    with pytest.raises(Invalid, match="satellites may name images of self"):
        await one.launch(named, uuid4().hex)
    assert not faithful.front.calls.of("RunInstances")
    await one.launch(spec(), uuid4().hex)  # the operator's own choice needs no owner


async def test_an_image_of_another_architecture_is_invalid(ec2, spec, stage) -> None:
    with pytest.raises(Invalid, match="is for arm64, not x86_64"):
        await ec2().launch(spec(image=stage.images["arm64"]), uuid4().hex)


@pytest.mark.parametrize(
    ("code", "message", "meaning"),
    [
        ("VcpuLimitExceeded", "You have requested more vCPU capacity", Quota),
        ("InvalidParameterValue", "Invalid IAM Instance Profile name", Invalid),
    ],
)
async def test_refusals_end_the_attempts(
    ec2, spec, faithful, code: str, message: str, meaning: type[ProvisionerError]
) -> None:
    faithful.front.script.faults.append(
        Fault("RunInstances", code=code, message=message, status=400)
    )
    with pytest.raises(meaning, match=message):
        await ec2().launch(spec(), uuid4().hex)
    assert len(faithful.front.calls.of("RunInstances")) == 1


async def test_facts_of_types_and_images_are_asked_for_once(ec2, spec, faithful) -> None:
    one = ec2()
    for _ in range(3):
        await one.launch(spec(), uuid4().hex)
    assert len(faithful.front.calls.of("DescribeInstanceTypes")) == 1
    assert len(faithful.front.calls.of("DescribeImages")) == 1


async def test_arm64_hibernates_only_where_it_is_asked_to(ec2, spec, stage) -> None:
    one, plain = ec2(), client(stage.endpoint)
    for hibernate in (False, True):
        wanted = spec(arch=Arch.ARM64, size="m7g.large", hibernate=hibernate)
        ref = await one.launch(wanted, uuid4().hex)
        found = plain.describe_instances(
            Filters=[{"Name": "tag:torpor:satellite-id", "Values": [str(wanted.satellite_id)]}]
        )["Reservations"]
        while not found:
            await asyncio.sleep(0.02)
            found = plain.describe_instances(
                Filters=[{"Name": "tag:torpor:satellite-id", "Values": [str(wanted.satellite_id)]}]
            )["Reservations"]
        [told] = found[0]["Instances"]
        assert told["InstanceId"] == Ref.parse(ref).instance
        assert told["HibernationOptions"] == {"Configured": hibernate}


# Caps


async def test_an_org_may_have_so_many_machines_sleeping_ones_counted(
    ec2, spec, settings, drive
) -> None:
    one = ec2(place=replace(settings.place, max_machines=2))
    await drive.asleep(one, spec(), SleepKind.STOPPED)
    last = await drive.running(one, spec())
    with pytest.raises(Quota, match="acme has 2 of its 2 machines"):
        await one.launch(spec(), uuid4().hex)
    await one.launch(spec(org="globex"), uuid4().hex)
    await one.terminate(last)
    await drive.becomes(one, last, MachineState.GONE)
    await one.launch(spec(), uuid4().hex)


async def test_a_launch_that_is_repeated_needs_no_more_room(ec2, spec, settings, drive) -> None:
    one = ec2(place=replace(settings.place, max_machines=1))
    wanted, token = spec(), uuid4().hex
    ref = await one.launch(wanted, token)
    await drive.becomes(one, ref, MachineState.RUNNING)
    assert await one.launch(wanted, token) == ref


async def test_an_org_may_have_so_many_vcpus(ec2, spec, settings, drive, faithful) -> None:
    one = ec2(place=replace(settings.place, max_vcpus=6))
    await drive.running(one, spec(size="m7i.xlarge"))
    with pytest.raises(Quota, match="acme has 4 of its 6 vCPUs, and asked for 4"):
        await one.launch(spec(size="m7i.xlarge"), uuid4().hex)
    assert len(faithful.front.calls.of("RunInstances")) == 1, "refused before AWS is asked"
    await one.launch(spec(size="m7i.large"), uuid4().hex)
