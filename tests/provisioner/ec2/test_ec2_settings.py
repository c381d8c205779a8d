"""What an operator may set, and what is said when it cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from torpor_provisioner import registry
from torpor_provisioner.contract import Arch, Changeable, LimitedHibernation, Provisioner
from torpor_provisioner.ec2 import Ec2Provisioner
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.environment import settings_from
from torpor_provisioner.errors import Invalid

REQUIRED = {
    "TORPOR_EC2_DEPLOYMENT": "prod",
    "TORPOR_EC2_REGION": "eu-west-1",
    "TORPOR_EC2_SUBNETS": "subnet-aaaa,subnet-bbbb",
    "TORPOR_EC2_SECURITY_GROUPS": "sg-aaaa",
    "TORPOR_EC2_IMAGE_ARM64": "ami-0123456789abcdef0",
}
ROLE = {
    "TORPOR_EC2_ROLE": "arn:aws:iam::210987654321:role/torpor",
    "TORPOR_EC2_EXTERNAL_ID": "a-secret-of-ours",
}
ORGS = """
[acme]
role_arn = "arn:aws:iam::111122223333:role/torpor"
external_id = "acme-secret"
region = "us-east-1"
subnets = ["subnet-cccc"]
security_groups = ["sg-cccc"]
max_machines = 3
max_vcpus = 64

[globex]
max_machines = 1
"""


def test_what_is_required_is_enough() -> None:
    settings = settings_from(REQUIRED)
    assert settings.deployment == "prod"
    assert settings.place.subnets == ("subnet-aaaa", "subnet-bbbb")
    assert settings.place.account == ""
    assert settings.images == {Arch.ARM64: "ami-0123456789abcdef0"}
    assert settings.place_of("anyone") is settings.place
    assert settings.image_owners == {"self", "amazon"}
    assert settings.pace == 0.5
    assert settings.limits == {}
    assert (settings.place.max_machines, settings.place.max_vcpus) == (20, 160)
    assert all(settings.allows(size) for size in ("m7i.xlarge", "c7gn.4xlarge", "r8g.medium"))
    assert not any(
        map(settings.allows, ("p5.48xlarge", "mac2.metal", "trn1.2xlarge", "x2gd.large"))
    )


@pytest.mark.parametrize("name", REQUIRED)
def test_what_is_required_is_named_when_it_is_missing(name: str) -> None:
    given = {key: value for key, value in REQUIRED.items() if key != name}
    told = "image" if "IMAGE" in name else name
    with pytest.raises(Invalid, match=told):
        settings_from(given)


def test_everything_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text("#cloud-config\n")
    settings = settings_from(
        REQUIRED
        | ROLE
        | {
            "TORPOR_EC2_IMAGE_X86_64": "ami-0fedcba9876543210",
            "TORPOR_EC2_SIZE_X86_64": "c7i.4xlarge",
            "TORPOR_EC2_ALLOWED_SIZES": "m7*.*, g6.xlarge",
            "TORPOR_EC2_SIZE_ARM64": "x2gd.large",
            "TORPOR_EC2_IMAGE_OWNERS": "self, 999988887777",
            "TORPOR_EC2_PROFILE": "satellite",
            "TORPOR_EC2_USER_DATA": str(tmp_path / "user-data"),
            "TORPOR_EC2_PORT": "9092",
            "TORPOR_EC2_ROOT_GIB": "20",
            "TORPOR_EC2_CACHE_GIB": "200",
            "TORPOR_EC2_THROUGHPUT": "1000",
            "TORPOR_EC2_MAX_MACHINES": "10",
            "TORPOR_EC2_MAX_VCPUS": "100",
            "TORPOR_EC2_LIMITS": "StartInstances=10/4, StopInstances=100/7.5",
            "TORPOR_EC2_RESOURCE_LIMITS": "StartInstances=2000/10",
            "TORPOR_EC2_PACE": "0.25",
            "TORPOR_EC2_FEED": "https://sqs.invalid/queue",
            "TORPOR_EC2_ENDPOINT": "http://127.0.0.1:5000",
        }
    )
    assert settings.place.account == "210987654321"
    assert settings.sizes == {Arch.X86_64: "c7i.4xlarge", Arch.ARM64: "x2gd.large"}
    assert all(map(settings.allows, ("m7a.large", "g6.xlarge", "c7i.4xlarge", "x2gd.large")))
    assert not settings.allows("g6.2xlarge")
    assert settings.user_data == "#cloud-config\n"
    assert settings.image_owners == {"self", "999988887777"}
    assert settings.limits == {
        Action.START_INSTANCES: (10, 4.0),
        Action.STOP_INSTANCES: (100, 7.5),
    }
    assert settings.resource_limits == {Action.START_INSTANCES: (2000, 10.0)}
    assert (settings.port, settings.root_gib, settings.cache_gib) == (9092, 20, 200)
    assert (settings.place.max_machines, settings.place.max_vcpus) == (10, 100)
    assert "a-secret-of-ours" not in repr(settings)


def test_orgs_may_live_elsewhere_and_inherit_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "orgs.toml"
    file.write_text(ORGS)
    settings = settings_from(REQUIRED | {"TORPOR_EC2_ORGS": str(file)})
    acme, globex = settings.place_of("acme"), settings.place_of("globex")
    assert (acme.account, acme.region, acme.max_vcpus) == ("111122223333", "us-east-1", 64)
    assert globex.subnets == settings.place.subnets
    assert globex.max_machines == 1
    assert settings.place_of("other").max_machines == 20
    assert settings.places == (settings.place, acme, globex)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"TORPOR_EC2_DEPLOYMENT": "Prod!"}, "deployment 'Prod!'"),
        ({"TORPOR_EC2_REGION": "mars"}, "'mars' is no AWS Region"),
        ({"TORPOR_EC2_SUBNETS": "subnet-aaaa,vpc-1"}, "not all subnet-"),
        ({"TORPOR_EC2_SUBNETS": " , "}, "not all subnet-"),
        ({"TORPOR_EC2_SECURITY_GROUPS": "web"}, "must be sg-"),
        ({"TORPOR_EC2_ROLE": ROLE["TORPOR_EC2_ROLE"]}, "external id are given together"),
        ({"TORPOR_EC2_EXTERNAL_ID": "x"}, "external id are given together"),
        (ROLE | {"TORPOR_EC2_ROLE": "torpor"}, "'torpor' is no role's ARN"),
        ({"TORPOR_EC2_PORT": "http"}, "TORPOR_EC2_PORT is 'http'"),
        ({"TORPOR_EC2_CACHE_GIB": "-1"}, "TORPOR_EC2_CACHE_GIB is '-1'"),
        ({"TORPOR_EC2_PORT": "8373"}, "8373 is where machines tell"),
        ({"TORPOR_EC2_PORT": "65536"}, "the port is 65536"),
        ({"TORPOR_EC2_ROOT_GIB": "0"}, "root_gib is 0"),
        ({"TORPOR_EC2_CACHE_GIB": "65537"}, "cache_gib is 65537; it must be from 1 to 65536"),
        ({"TORPOR_EC2_THROUGHPUT": "2001"}, "throughput is 2001; it must be from 125 to 2000"),
        ({"TORPOR_EC2_ALLOWED_SIZES": "m7i.large; rm"}, "TORPOR_EC2_ALLOWED_SIZES has"),
        ({"TORPOR_EC2_ALLOWED_SIZES": ","}, "TORPOR_EC2_ALLOWED_SIZES is empty"),
        ({"TORPOR_EC2_PACE": "0"}, "pace is 0.0"),
        ({"TORPOR_EC2_PACE": "soon"}, "TORPOR_EC2_PACE is 'soon'"),
        ({"TORPOR_EC2_LIMITS": "StartInstances"}, "TORPOR_EC2_LIMITS has 'StartInstances'"),
        ({"TORPOR_EC2_LIMITS": "StartInstances=5/0"}, "'StartInstances=5/0'"),
        ({"TORPOR_EC2_LIMITS": "RebootInstances=5/2"}, "'RebootInstances=5/2'"),
        ({"TORPOR_EC2_HIBERNATION_EXPIRY": "keep"}, "it must be one of stop, renew"),
        ({"TORPOR_EC2_USER_DATA": "/no/such/file"}, "TORPOR_EC2_USER_DATA: /no/such/file"),
        ({"TORPOR_EC2_ORGS": "/no/such/file"}, "TORPOR_EC2_ORGS: /no/such/file"),
    ],
)
def test_what_cannot_be_meant(changes: dict[str, str], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        settings_from(REQUIRED | changes)
    assert told in refused.value.detail


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[acme", "is no TOML"),
        ("acme = 3", r"[acme] must be a table"),
        ("[acme]\nsubnet = 'subnet-a'", r"[acme] must be a table with keys of"),
        ("[acme]\nsubnets = 'subnet-a'", "subnets of [acme] must be a list"),
        ("[acme]\nmax_machines = 'all'", "max_machines of [acme] must be a int"),
        ("[acme]\nregion = 'mars'", "org acme: 'mars' is no AWS Region"),
        (
            ORGS.replace('"acme-secret"', '"one"')
            + ORGS.replace("acme", "initech").partition("[globex]")[0],
            "account 111122223333 is given with two roles",
        ),
    ],
)
def test_orgs_that_cannot_be_meant(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "orgs.toml"
    file.write_text(text)
    with pytest.raises(Invalid) as refused:
        settings_from(REQUIRED | {"TORPOR_EC2_ORGS": str(file)})
    assert told in refused.value.detail
    assert "secret" not in refused.value.detail


async def test_the_provisioner_is_found_by_name(tmp_path: Path) -> None:
    made = registry.create("ec2", REQUIRED, tmp_path)
    assert isinstance(made, Ec2Provisioner)
    assert isinstance(made, Provisioner)
    assert isinstance(made, Changeable)
    assert isinstance(made, LimitedHibernation)
    assert (made.longest_hibernation.days, made.renews_hibernation) == (55, False)
    await made.aclose()


async def test_renewing_hibernation_is_a_setting(tmp_path: Path) -> None:
    made = registry.create("ec2", REQUIRED | {"TORPOR_EC2_HIBERNATION_EXPIRY": "renew"}, tmp_path)
    assert made.renews_hibernation  # type: ignore[attr-defined]
    await made.aclose()


def test_a_bad_environment_is_refused_by_the_registry(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="TORPOR_EC2_REGION is missing"):
        registry.create("ec2", {"TORPOR_EC2_DEPLOYMENT": "prod"}, tmp_path)
