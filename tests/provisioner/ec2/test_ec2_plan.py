"""RunInstances' arguments: what every machine is given, whatever is asked for."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any
from uuid import UUID

import botocore.session
import pytest
from botocore.handlers import base64_encode_user_data
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.contract import Arch, Spec
from torpor_provisioner.ec2 import plan
from torpor_provisioner.ec2.kinds import Image, InstanceType
from torpor_provisioner.ec2.plan import Wishes
from torpor_provisioner.ec2.settings import Ec2Settings, Place
from torpor_provisioner.errors import Invalid

ID = UUID("0f0e0d0c-0b0a-4909-8807-060504030201")
PLACE = Place(
    region="eu-west-1",
    subnets=("subnet-aaaa", "subnet-bbbb"),
    security_groups=("sg-aaaa",),
    profile="satellite",
)
SETTINGS = Ec2Settings(
    deployment="prod",
    place=PLACE,
    images={Arch.X86_64: "ami-0123456789abcdef0", Arch.ARM64: "ami-0fedcba9876543210"},
    user_data="org=@TORPOR_ORG@ name=@TORPOR_SATELLITE@ port=@TORPOR_PORT@ t=@TORPOR_LAUNCH_TOKEN@",
)
KIND = InstanceType("m7i.xlarge", frozenset({"x86_64"}), 16 * 1024, 4, True, False)
IMAGE = Image("ami-0123456789abcdef0", "x86_64", "/dev/xvda", 8, "snap-0123456789abcdef0")
SPEC = Spec(ID, 3, "acme", "ci", Arch.X86_64, hibernate=True)


def _arguments(
    spec: Spec = SPEC,
    token: str = "token",
    *,
    kind: InstanceType = KIND,
    subnet: str = "subnet-aaaa",
    settings: Ec2Settings = SETTINGS,
    place: Place = PLACE,
) -> dict[str, Any]:
    return plan.run_arguments(
        spec,
        token,
        kind=kind,
        image=IMAGE,
        subnet=subnet,
        wishes=Wishes.read(spec, settings),
        place=place,
        settings=settings,
    )


@pytest.fixture(scope="module")
def validated() -> Callable[[dict[str, Any]], None]:
    """Checks arguments against AWS's own description of RunInstances."""
    described = botocore.session.get_session().get_service_model("ec2")
    shape = described.operation_model("RunInstances").input_shape

    def validate(arguments: dict[str, Any]) -> None:
        arguments = dict(arguments)
        base64_encode_user_data(arguments)  # as the SDK does first
        report = ParamValidator().validate(arguments, shape)
        assert not report.has_errors(), report.generate_report()

    return validate


def test_aws_knows_every_argument(validated) -> None:
    validated(_arguments())


def test_the_root_is_encrypted_gp3_with_room_for_memory() -> None:
    root, cache = _arguments()["BlockDeviceMappings"]
    assert root == {
        "DeviceName": "/dev/xvda",
        "Ebs": {
            "VolumeType": "gp3",
            "VolumeSize": 16 + 16,
            "Encrypted": True,
            "Throughput": 500,
            "Iops": 3000,
            "DeleteOnTermination": True,
        },
    }
    assert cache["DeviceName"] == plan.CACHE_DEVICE
    assert cache["Ebs"]["VolumeSize"] == 100
    assert cache["Ebs"]["Encrypted"]


def test_what_cannot_hibernate_has_no_room_for_memory_and_is_not_set_up_for_it() -> None:
    for spec, kind in (
        (replace(SPEC, hibernate=False), KIND),
        (SPEC, replace(KIND, hibernation=False)),
        (SPEC, replace(KIND, bare_metal=True)),
        (SPEC, replace(KIND, memory_mib=150 * 1024)),
    ):
        arguments = _arguments(spec, kind=kind)
        assert arguments["HibernationOptions"] == {"Configured": False}
        assert arguments["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 16
    assert _arguments()["HibernationOptions"] == {"Configured": True}


def test_the_metadata_service_wants_a_session_and_is_one_hop_away() -> None:
    assert _arguments()["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }


def test_there_is_no_public_address() -> None:
    [network] = _arguments(subnet="subnet-bbbb")["NetworkInterfaces"]
    assert network == {
        "DeviceIndex": 0,
        "SubnetId": "subnet-bbbb",
        "Groups": ["sg-aaaa"],
        "AssociatePublicIpAddress": False,
        "DeleteOnTermination": True,
    }


def test_machine_volumes_and_interface_are_tagged_alike() -> None:
    marked = {one["ResourceType"]: one["Tags"] for one in _arguments()["TagSpecifications"]}
    assert set(marked) == {"instance", "volume", "network-interface"}
    tags = {tag["Key"]: tag["Value"] for tag in marked["instance"]}
    assert tags == {
        "Name": "acme/ci",
        "torpor:deployment": "prod",
        "torpor:org": "acme",
        "torpor:satellite": "ci",
        "torpor:satellite-id": str(ID),
        "torpor:generation": "3",
        "torpor:token": plan.launch_id("token"),
        "torpor:sizes": "m7i.xlarge",
    }
    assert marked["volume"] == marked["network-interface"] == marked["instance"]


def test_user_data_and_profile() -> None:
    arguments = _arguments()
    token = "0f0e0d0c-0b0a-4909-8807-060504030201/3"
    assert arguments["UserData"] == f"org=acme name=ci port=8372 t={token}".encode()
    assert arguments["IamInstanceProfile"] == {"Name": "satellite"}
    bare = _arguments(settings=replace(SETTINGS, user_data=""), place=replace(PLACE, profile=""))
    assert "UserData" not in bare
    assert "IamInstanceProfile" not in bare


def test_user_data_that_cannot_be_filled_in() -> None:
    with pytest.raises(Invalid, match="@TORPOR_TOKEN@"):
        plan.user_data(SPEC, replace(SETTINGS, user_data="@TORPOR_TOKEN@"))
    noise = Random(1).randbytes(16_000).hex()  # of which half is left
    with pytest.raises(
        Invalid, match=r"has 32000 bytes, 1[78][0-9]{3} compressed; EC2 takes 16384"
    ):
        plan.user_data(SPEC, replace(SETTINGS, user_data=noise))


def test_only_user_data_that_is_too_long_for_ec2_is_compressed() -> None:
    whole, longer = "x" * 16384, "x" * 16380 + "@TORPOR_ORG@\n"
    assert plan.user_data(SPEC, replace(SETTINGS, user_data=whole)) == whole.encode()
    packed = plan.user_data(SPEC, replace(SETTINGS, user_data=longer))
    assert len(packed) < 1000
    assert gzip.decompress(packed) == b"x" * 16380 + b"acme\n"
    assert packed == plan.user_data(SPEC, replace(SETTINGS, user_data=longer)), "to AWS, the same"


def test_throughput_brings_the_iops_it_needs() -> None:
    assert plan.gp3(10, 1000)["Iops"] == 4000
    assert plan.gp3(10, 125)["Iops"] == 3000


def test_sizes_are_tried_in_every_zone_before_another_size() -> None:
    spec = replace(SPEC, settings={"alternatives": "m6i.xlarge, m5.xlarge"})
    wishes = Wishes.read(spec, SETTINGS)
    assert list(plan.attempts(wishes, PLACE)) == [
        ("m7i.xlarge", "subnet-aaaa"),
        ("m7i.xlarge", "subnet-bbbb"),
        ("m6i.xlarge", "subnet-aaaa"),
        ("m6i.xlarge", "subnet-bbbb"),
        ("m5.xlarge", "subnet-aaaa"),
        ("m5.xlarge", "subnet-bbbb"),
    ]


def test_defaults_by_architecture() -> None:
    wishes = Wishes.read(replace(SPEC, arch=Arch.ARM64), SETTINGS)
    assert (wishes.size, wishes.image) == ("m7g.xlarge", "ami-0fedcba9876543210")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": "large"}, "'large' is no instance type"),
        ({"size": "m7i.large; rm"}, "no instance type"),
        ({"settings": {"alternatives": "m7i.large m7i"}}, "'m7i' is no instance type"),
        ({"settings": {"cache_gib": "0"}}, "cache_gib is '0'"),
        ({"settings": {"cache_gib": "65537"}}, "cache_gib is '65537'"),
        ({"size": "p5.48xlarge"}, "may not have the size p5.48xlarge"),
        ({"settings": {"alternatives": "m7i.large u-6tb1.metal"}}, "size u-6tb1.metal"),
        ({"settings": {"cache_gib": "many"}}, "cache_gib is 'many'"),
        ({"settings": {"image": "debian"}}, "no image for x86_64: 'debian'"),
        ({"settings": {"worker": "grid"}}, "not ['worker']"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        Wishes.read(replace(SPEC, **changes), SETTINGS)
    assert told in refused.value.detail


def test_no_image_for_an_architecture() -> None:
    only = replace(SETTINGS, images={Arch.X86_64: "ami-0123456789abcdef0"})
    with pytest.raises(Invalid, match="no image for arm64"):
        Wishes.read(replace(SPEC, arch=Arch.ARM64), only)


@pytest.mark.parametrize(
    ("owners", "trusted", "may"),
    [
        ({"111122223333"}, {"self", "amazon"}, True),
        ({"137112412989", "amazon"}, {"self", "amazon"}, True),
        ({"137112412989", "amazon"}, {"self"}, False),
        ({"999988887777"}, {"self", "amazon"}, False),
        ({"999988887777"}, {"self", "999988887777"}, True),
        ({"999988887777"}, {"*"}, True),
        ({"999988887777"}, set(), False),
        (set(), {"self", "amazon"}, False),
    ],
)
def test_a_satellite_names_images_of_allowed_owners(
    owners: set[str], trusted: set[str], may: bool
) -> None:
    image = replace(IMAGE, owners=frozenset(owners))
    settings = replace(SETTINGS, image_owners=frozenset(trusted))
    named = replace(SPEC, settings={"image": image.id})
    plan.check_owner(image, SPEC, settings, "111122223333")  # the operator's own choice
    if may:
        plan.check_owner(image, named, settings, "111122223333")
        return
    with pytest.raises(Invalid, match="satellites may name images of"):
        plan.check_owner(image, named, settings, "111122223333")


def test_architectures_must_agree() -> None:
    plan.check(KIND, IMAGE, SPEC)
    with pytest.raises(Invalid, match="is x86_64, not arm64"):
        plan.check(KIND, IMAGE, replace(SPEC, arch=Arch.ARM64))
    with pytest.raises(Invalid, match="is for arm64, not x86_64"):
        plan.check(KIND, replace(IMAGE, arch="arm64"), SPEC)


@given(token=st.text(min_size=1), other=st.text(min_size=1))
def test_the_client_token_names_the_launch_and_the_attempt(token: str, other: str) -> None:
    here, there = (_arguments(token=token, subnet=s)["ClientToken"] for s in PLACE.subnets)
    assert here != there, "AWS refuses a token with other arguments"
    assert here == _arguments(token=token)["ClientToken"], "a repetition is one"
    assert here.isascii()
    assert len(here) <= 64
    assert (_arguments(token=other)["ClientToken"] == here) == (token == other)


@given(
    memory_mib=st.integers(512, 1 << 24),
    root_gib=st.integers(1, 1000),
    image_gib=st.integers(1, 1000),
    throughput=st.integers(125, 1000),
    able=st.booleans(),
    wanted=st.booleans(),
)
def test_a_machine_set_up_to_hibernate_always_has_room_for_its_memory(
    memory_mib: int, root_gib: int, image_gib: int, throughput: int, able: bool, wanted: bool
) -> None:
    kind = replace(KIND, memory_mib=memory_mib, hibernation=able)
    settings = replace(SETTINGS, root_gib=root_gib, throughput=throughput)
    spec = replace(SPEC, hibernate=wanted)
    arguments = plan.run_arguments(
        spec,
        "token",
        kind=kind,
        image=replace(IMAGE, root_gib=image_gib),
        subnet="subnet-aaaa",
        wishes=Wishes.read(spec, settings),
        place=PLACE,
        settings=settings,
    )
    root = arguments["BlockDeviceMappings"][0]["Ebs"]
    assert root["VolumeSize"] >= image_gib, "AWS refuses less than the snapshot"
    assert root["Throughput"] <= root["Iops"] * 0.25
    if arguments["HibernationOptions"]["Configured"]:
        assert able
        assert wanted
        assert (root["VolumeSize"] - max(root_gib, image_gib)) * 1024 >= memory_mib
