"""What AWS tells, read: machines, types, images, tags, and the refs that name a machine."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.contract import Address, Arch, MachineState, Observed, SleepKind
from torpor_provisioner.ec2 import machines, tags
from torpor_provisioner.ec2.api import Api
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.ec2.kinds import Image, InstanceType
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.ec2.site import Site
from torpor_provisioner.ec2.throttle import Throttle
from torpor_provisioner.errors import Gone, Invalid, NotReady, Unanswered

STOPPED = {
    "InstanceId": "i-0123456789abcdef0",
    "State": {"Name": "stopped"},
    "PrivateIpAddress": "10.0.0.7",
    "StateTransitionReason": "User initiated (2026-01-01 00:00:00 GMT)",
}
HIBERNATED = {
    "Code": "Client.UserInitiatedHibernate",
    "Message": "Client.UserInitiatedHibernate: User initiated hibernate",
}
SHUT_DOWN = {
    "Code": "Client.UserInitiatedShutdown",
    "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
}
NO_CAPACITY = {
    "Code": "Server.InsufficientInstanceCapacity",
    "Message": "Server.InsufficientInstanceCapacity: Insufficient capacity",
}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("pending", MachineState.PENDING),
        ("running", MachineState.RUNNING),
        ("stopping", MachineState.STOPPING),
        ("stopped", MachineState.ASLEEP),
        ("shutting-down", MachineState.GONE),
        ("terminated", MachineState.GONE),
    ],
)
def test_states(name: str, state: MachineState) -> None:
    seen = machines.observed({**STOPPED, "State": {"Name": name}}, 8372)
    assert seen.state is state
    assert seen.address == (None if state is MachineState.GONE else Address("10.0.0.7", 8372))
    assert (seen.sleep_kind is not None) is (state is MachineState.ASLEEP)


def test_where_it_says_which_one_it_is() -> None:
    running = {**STOPPED, "State": {"Name": "running"}}
    seen = machines.observed(running, 8372, identity_port=8373)
    assert seen.identity == Address("10.0.0.7", 8373)
    assert machines.observed(running, 8372).identity is None
    assert machines.observed(STOPPED, 8372, identity_port=8373).identity is None


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (HIBERNATED, SleepKind.HIBERNATED),
        (SHUT_DOWN, SleepKind.STOPPED),
        (NO_CAPACITY, SleepKind.STOPPED),
        ({}, SleepKind.STOPPED),
    ],
)
def test_how_it_sleeps_is_told_by_the_state_reason(reason: dict[str, str], kind: SleepKind) -> None:
    seen = machines.observed({**STOPPED, "StateReason": reason}, 8372)
    assert seen.sleep_kind is kind
    assert reason.get("Message", "") in seen.detail


def test_what_this_node_knows_besides_comes_first() -> None:
    seen = machines.observed({**STOPPED, "StateReason": SHUT_DOWN}, 8372, "stopped, not hibernated")
    assert seen.detail.startswith("stopped, not hibernated; Client.UserInitiatedShutdown: ")


def test_a_machine_without_an_address_yet() -> None:
    pending = {"InstanceId": "i-0123456789abcdef0", "State": {"Name": "pending"}}
    assert machines.observed(pending, 8372) == Observed(MachineState.PENDING)


@pytest.mark.parametrize("instance", [{}, {"State": {}}, {"State": {"Name": "asleep"}}])
def test_a_state_that_there_is_not(instance: dict[str, Any]) -> None:
    with pytest.raises(NotReady, match="EC2 says"):
        machines.observed(instance, 8372)


KIND = {
    "InstanceType": "m7i.large",
    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    "MemoryInfo": {"SizeInMiB": 8192},
    "VCpuInfo": {"DefaultVCpus": 2},
    "HibernationSupported": True,
    "BareMetal": False,
}


def test_an_instance_type() -> None:
    kind = InstanceType.read(KIND)
    assert kind == InstanceType("m7i.large", frozenset({"x86_64"}), 8192, 2, True, False)
    assert kind.can_hibernate
    assert kind.memory_gib == 8
    assert kind.runs(Arch.X86_64)
    assert not kind.runs(Arch.ARM64)


@given(st.integers(1, 1 << 25))
def test_memory_is_rounded_up_and_has_a_limit(mib: int) -> None:
    kind = InstanceType.read({**KIND, "MemoryInfo": {"SizeInMiB": mib}})
    assert 0 <= kind.memory_gib * 1024 - mib < 1024
    assert kind.can_hibernate is (mib < 150 * 1024)


def test_an_image_without_disks() -> None:
    told = {"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "Architecture": "arm64"}
    assert Image.read(told) == Image("ami-1", "arm64", "/dev/xvda", 0, "")


def test_an_image_and_its_owner() -> None:
    told = {"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "OwnerId": "137112412989"}
    assert Image.read(told).owners == {"137112412989"}
    assert Image.read(told | {"ImageOwnerAlias": "amazon"}).owners == {"137112412989", "amazon"}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"InstanceTypes": None},
        {"InstanceTypes": [{"InstanceType": "m7i.large"}]},
        {"InstanceTypes": ["m7i.large"]},
    ],
)
def test_facts_that_cannot_be_read_are_no_answer(virtual, played, answer: Any) -> None:
    client = played(lambda *_: answer)

    async def main() -> None:
        site = Site(Api("123456789012", "eu-west-1", client, Throttle()))
        with pytest.raises(Fault, match="cannot be read") as refused:
            await site.kinds(["m7i.large"])
        assert refused.value.meaning is Unanswered
        await site.aclose()

    virtual(main())


@pytest.mark.parametrize(
    "answer", [{}, {"Reservations": [{}]}, {"Reservations": [{"Instances": [1]}]}]
)
def test_machines_that_cannot_be_read_are_no_answer(virtual, played, answer: Any) -> None:
    client = played(lambda *_: answer)

    async def main() -> None:
        site = Site(Api("123456789012", "eu-west-1", client, Throttle()))
        with pytest.raises(Fault, match="cannot be read"):
            await site.observer.look(["i-0123456789abcdef0"])
        await site.aclose()

    virtual(main())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"Images": []}, "no image ami-1"),
        ({}, "no image ami-1"),
    ],
)
def test_an_image_that_there_is_not(virtual, played, answer: Any, told: str) -> None:
    client = played(lambda *_: answer)

    async def main() -> None:
        site = Site(Api("123456789012", "eu-west-1", client, Throttle()))
        with pytest.raises(Invalid, match=told):
            await site.image("ami-1")
        await site.aclose()

    virtual(main())


def test_tags_are_written_and_read() -> None:
    given_ = {
        "torpor:satellite-id": "0f0e0d0c-0b0a-4909-8807-060504030201",
        "torpor:generation": "3",
    }
    assert tags.read({"Tags": tags.as_list(given_)}) == given_
    assert tags.owner(given_) == (UUID("0f0e0d0c-0b0a-4909-8807-060504030201"), 3)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"torpor:satellite-id": "me", "torpor:generation": "1"},
        {"torpor:satellite-id": "0f0e0d0c-0b0a-4909-8807-060504030201"},
        {
            "torpor:satellite-id": "0f0e0d0c-0b0a-4909-8807-060504030201",
            "torpor:generation": "first",
        },
    ],
)
def test_tags_that_somebody_changed_name_no_owner(changed: dict[str, str]) -> None:
    assert tags.owner(changed) is None


@given(
    st.from_regex(r"[0-9]{12}", fullmatch=True),
    st.sampled_from(["eu-west-1", "us-gov-east-1", "ap-southeast-4", "cn-north-1"]),
    st.from_regex(r"i-[0-9a-f]{17}", fullmatch=True),
)
def test_a_ref_is_read_as_it_was_written(account: str, region: str, instance: str) -> None:
    ref = Ref(account, region, instance)
    assert Ref.parse(str(ref)) == ref


@given(st.text())
def test_whatever_is_no_ref_is_gone(text: str) -> None:
    try:
        ref = Ref.parse(text)
    except Gone:
        return
    assert str(ref) == text
