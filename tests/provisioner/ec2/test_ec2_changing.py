"""What is done to a stopped machine: another size, larger disks, a new system; and its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from torpor_provisioner.contract import Arch, MachineState, SleepKind, Spec
from torpor_provisioner.ec2.plan import CACHE_DEVICE
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.errors import Capacity, Gone, Invalid, NotReady, ProvisionerError, Quota
from torpor_provisioner.faithful_ec2.script import Effect, Fault
from torpor_provisioner.faithful_ec2.stage import client


@pytest.fixture
def plain(stage) -> Iterator[Any]:
    made = client(stage.endpoint)
    yield made
    made.close()


@pytest.fixture
def newer_image(plain) -> str:
    """Another image for the same architecture, with a snapshot of its own."""
    minimal = {"Name": "name", "Values": ["al2023-ami-minimal-2023*-x86_64"]}
    return str(plain.describe_images(Filters=[minimal])["Images"][0]["ImageId"])


def _instance(plain: Any, ref: str) -> dict[str, Any]:
    [held] = plain.describe_instances(InstanceIds=[Ref.parse(ref).instance])["Reservations"]
    return dict(held["Instances"][0])


def _disks(plain: Any, ref: str) -> dict[str, dict[str, Any]]:
    """Attached volumes by device."""
    found = plain.describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [Ref.parse(ref).instance]}]
    )["Volumes"]
    return {one["Attachments"][0]["Device"]: one for one in found}


def _other(spec: Spec, **changes: Any) -> Spec:
    """The same satellite, wanted otherwise."""
    return replace(spec, **changes)


async def test_another_size_and_a_larger_cache(ec2, spec, drive, plain) -> None:
    one, wanted = ec2(), spec(size="m7i.large", cache_gib="50")
    ref = await drive.asleep(one, wanted)
    before = _disks(plain, ref)
    larger = _other(wanted, size="m7i.xlarge", settings={"cache_gib": "80"})
    await one.resize(ref, larger)
    await one.resize(ref, larger)
    assert _instance(plain, ref)["InstanceType"] == "m7i.xlarge"
    after = _disks(plain, ref)
    assert after[CACHE_DEVICE]["Size"] == 80
    root = _instance(plain, ref)["RootDeviceName"]
    assert after[root]["Size"] >= before[root]["Size"] + 8, "room for 8 GiB more of memory"
    await one.wake(ref)
    await drive.becomes(one, ref, MachineState.RUNNING)
    await drive.ready(one.sleep, ref, SleepKind.HIBERNATED)
    seen = await drive.becomes(one, ref, MachineState.ASLEEP)
    assert seen.sleep_kind is SleepKind.HIBERNATED


async def test_a_disk_never_shrinks(ec2, spec, drive, plain) -> None:
    one, wanted = ec2(), spec(cache_gib="50")
    ref = await drive.asleep(one, wanted)
    await one.resize(ref, _other(wanted, settings={"cache_gib": "20"}))
    assert _disks(plain, ref)[CACHE_DEVICE]["Size"] == 50


@pytest.mark.parametrize("what", ["resize", "update"])
async def test_nothing_is_changed_unless_it_is_stopped(ec2, spec, drive, what: str) -> None:
    one, wanted = ec2(), spec()
    change = getattr(one, what)
    ref = await drive.running(one, wanted)
    with pytest.raises(NotReady, match="must be stopped first"):
        await change(ref, wanted)
    await drive.ready(one.sleep, ref, SleepKind.HIBERNATED)
    await drive.becomes(one, ref, MachineState.ASLEEP)
    with pytest.raises(Invalid, match="hibernated; wake it"):
        await change(ref, wanted)
    await one.terminate(ref)
    await drive.becomes(one, ref, MachineState.GONE)
    with pytest.raises(Gone):
        await change(ref, wanted)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": "m7g.large"}, "another architecture"),
        ({"size": "m9z.large"}, "m9z.large"),
        ({"size": "t1.micro"}, "able to hibernate"),
        ({"settings": {"cache_gib": "lots"}}, "cache_gib"),
    ],
)
async def test_a_size_that_cannot_run_it(ec2, spec, drive, plain, changes, told: str) -> None:
    one, wanted = ec2(allowed_sizes=("*",)), spec()
    ref = await drive.asleep(one, wanted)
    with pytest.raises(Invalid, match=told):
        await one.resize(ref, _other(wanted, **changes))
    assert _instance(plain, ref)["InstanceType"] == "m7i.large"


async def test_a_resize_keeps_the_orgs_cap(ec2, spec, drive, settings) -> None:
    one, wanted = ec2(place=replace(settings.place, max_vcpus=3)), spec()
    ref = await drive.asleep(one, wanted)
    with pytest.raises(Quota, match="vCPUs"):
        await one.resize(ref, _other(wanted, size="m7i.xlarge"))


async def test_the_new_sizes_are_what_a_wake_may_take(ec2, spec, drive, plain) -> None:
    one, wanted = ec2(), spec()
    ref = await drive.asleep(one, wanted)
    await one.resize(ref, _other(wanted, settings={"alternatives": "m6i.large m5.large"}))
    tags = {tag["Key"]: tag["Value"] for tag in _instance(plain, ref)["Tags"]}
    assert tags["torpor:sizes"] == "m7i.large m6i.large m5.large"


async def test_an_update_replaces_the_root_and_keeps_the_cache(
    ec2, spec, drive, plain, newer_image, faithful
) -> None:
    one, wanted = ec2(), spec()
    ref = await drive.asleep(one, wanted)
    root = _instance(plain, ref)["RootDeviceName"]
    before = _disks(plain, ref)
    newer = _other(wanted, settings={"image": newer_image})
    await one.update(ref, newer)
    after = _disks(plain, ref)
    assert after[CACHE_DEVICE]["VolumeId"] == before[CACHE_DEVICE]["VolumeId"]
    assert after[root]["VolumeId"] != before[root]["VolumeId"]
    assert after[root]["Encrypted"]
    assert after[root]["Size"] >= before[root]["Size"]
    left = {one["VolumeId"] for one in plain.describe_volumes()["Volumes"]}
    assert before[root]["VolumeId"] not in left, "the old root is deleted"
    await one.update(ref, newer)
    assert _disks(plain, ref) == after, "a second time changes nothing"
    assert len(faithful.front.calls.of("CreateVolume")) == 1


@pytest.mark.parametrize(
    ("effect", "action"),
    [
        *((Effect.LOSE, f"{what}Volume") for what in ("Create", "Detach", "Attach", "Delete")),
        (Effect.REFUSE, "DetachVolume"),
        (Effect.REFUSE, "AttachVolume"),
    ],
)
async def test_an_update_that_is_broken_off_can_be_repeated(
    ec2, spec, drive, plain, newer_image, faithful, action: str, effect: Effect
) -> None:
    one, wanted = ec2(), spec()
    ref = await drive.asleep(one, wanted)
    cache = _disks(plain, ref)[CACHE_DEVICE]["VolumeId"]
    newer = _other(wanted, settings={"image": newer_image})
    faithful.front.script.faults.append(
        Fault(action, effect, code="InsufficientVolumeCapacity", message="No.", status=400)
    )
    try:
        await one.update(ref, newer)
    except ProvisionerError as refused:
        told: ProvisionerError | None = refused
    else:
        told = None
    if effect is Effect.REFUSE:
        assert isinstance(told, Capacity)
    else:
        assert told is None
    await ec2().update(ref, newer)
    disks = _disks(plain, ref)
    assert disks[CACHE_DEVICE]["VolumeId"] == cache
    assert len(disks) == 2
    owned = plain.describe_volumes(
        Filters=[{"Name": "tag:torpor:satellite-id", "Values": [str(wanted.satellite_id)]}]
    )["Volumes"]
    assert {one["VolumeId"] for one in owned} == {one["VolumeId"] for one in disks.values()}


async def test_an_update_to_an_image_that_cannot_run_on_it(ec2, spec, drive, stage, plain) -> None:
    one, wanted = ec2(), spec()
    ref = await drive.asleep(one, wanted)
    before = _disks(plain, ref)
    for image, told in (
        (stage.images["arm64"], "is for arm64"),
        ("ami-00000000000000000", "ami-00000000000000000"),
    ):
        with pytest.raises(Invalid, match=told):
            await one.update(ref, _other(wanted, settings={"image": image}))
    assert _disks(plain, ref) == before


async def test_termination_leaves_no_volume(ec2, spec, drive, plain, newer_image) -> None:
    one, wanted = ec2(), spec()
    ref = await drive.asleep(one, wanted)
    await one.update(ref, _other(wanted, settings={"image": newer_image}))
    await one.terminate(ref)
    await drive.becomes(one, ref, MachineState.GONE)
    owned = plain.describe_volumes(
        Filters=[{"Name": "tag:torpor:satellite-id", "Values": [str(wanted.satellite_id)]}]
    )["Volumes"]
    assert [one["State"] for one in owned if one["State"] != "deleted"] == []


async def test_a_machine_whose_tags_were_taken_away_is_terminated_all_the_same(
    ec2, spec, drive, plain
) -> None:
    one = ec2()
    ref = await drive.asleep(one, spec())
    plain.delete_tags(Resources=[Ref.parse(ref).instance], Tags=[{"Key": "torpor:satellite-id"}])
    assert ref not in await one.owned()
    await one.terminate(ref)
    await drive.becomes(one, ref, MachineState.GONE)


def test_architectures_are_named_as_aws_names_them() -> None:
    assert {str(arch) for arch in Arch} == {"x86_64", "arm64"}
