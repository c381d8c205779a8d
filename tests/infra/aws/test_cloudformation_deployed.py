"""The stacks, deployed into a server that answers as AWS's APIs do."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
import yaml
from infrakit.moto_stacks import fill_in, plain
from infrakit.templates import load
from moto.server import ThreadedMotoServer

from torpor_provisioner import identity

REGION = "eu-west-1"
CERTIFICATE = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:door-AbCdEf"
PACKAGE = f"s3://acme-torpor/torpor/{'0' * 64}"
IMAGE = {"RouterImage": "ami-03cf127a"}  # moto knows no dynamic references
Client = Callable[[str], Any]
Deploy = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        fill_in(patch)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        made = []

        def make(service: str) -> Any:
            made.append(
                boto3.client(  # type: ignore[call-overload]
                    service,
                    region_name=REGION,
                    endpoint_url=f"http://{host}:{port}",
                    aws_access_key_id="test",
                    aws_secret_access_key="test",
                )
            )
            return made[-1]

        yield make
        for one in made:
            one.close()
        server.stop()


@pytest.fixture
def deploy(client: Client, infra: Path) -> Iterator[Deploy]:
    """Creates a stack in an empty account, and tells its outputs."""
    cloudformation = client("cloudformation")

    def create(file: str, **parameters: str) -> dict[str, str]:
        template = load(infra / "cloudformation" / f"{file}.yaml")
        network = parameters.get("NetworkCidr", "10.87.0.0/16")
        cloudformation.create_stack(
            StackName=file,
            TemplateBody=json.dumps(plain(template, REGION, network)),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        )
        [made] = cloudformation.describe_stacks(StackName=file)["Stacks"]
        assert made["StackStatus"] == "CREATE_COMPLETE", made
        return {o["OutputKey"]: o["OutputValue"] for o in made["Outputs"]}

    yield create
    reset = Request(f"{cloudformation.meta.endpoint_url}/moto-api/reset", method="POST")
    with urlopen(reset) as answer:
        assert answer.status == 200


@pytest.fixture
def made(client: Client) -> Callable[[str], set[str]]:
    """The logical names of what a stack has made."""

    def ask(stack: str) -> set[str]:
        answer = client("cloudformation").describe_stack_resources(StackName=stack)
        # moto lists what a condition has left out, without a name.
        names = {one.get("LogicalResourceId", "") for one in answer["StackResources"]}
        return names - {""}

    return ask


@pytest.fixture
def network(client: Client) -> dict[str, str]:
    """A VPC that is there already."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.1.{number}.0/24", AvailabilityZone=f"{REGION}{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("abab")
    ]
    return {
        "Network": vpc,
        "PublicSubnets": ",".join(subnets[:2]),
        "PrivateSubnets": ",".join(subnets[2:]),
    }


def router_environment(client: Client) -> dict[str, str]:
    """What a router of the only launch template is told."""
    ec2 = client("ec2")
    [template] = ec2.describe_launch_templates()["LaunchTemplates"]
    versions = ec2.describe_launch_template_versions(
        LaunchTemplateId=template["LaunchTemplateId"], Versions=["$Latest"]
    )["LaunchTemplateVersions"]
    data = versions[0]["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    files = yaml.safe_load(base64.b64decode(data["UserData"]))["write_files"]
    content = {file["path"]: file["content"] for file in files}
    lines = content["/etc/torpor/router.env"] + content["/etc/torpor/node.env"]
    return dict(line.split("=", 1) for line in lines.splitlines())


def test_with_nothing_but_a_certificate_all_of_it_is_made(deploy, client, made, infra):
    outputs = deploy(
        "torpor", CertificateSecret=CERTIFICATE, Package=PACKAGE, Deployment="prod", **IMAGE
    )
    template = load(infra / "cloudformation" / "torpor.yaml")
    optional = {"RouterMetrics", "Names", "Alarms"}
    assert made("torpor") == set(template["Resources"]) - optional

    [door] = client("elbv2").describe_load_balancers()["LoadBalancers"]
    assert (door["Type"], door["Scheme"]) == ("network", "internal")
    assert outputs["Door"] == f"{door['DNSName']}:443"
    subnets = client("ec2").describe_subnets(
        SubnetIds=[zone["SubnetId"] for zone in door["AvailabilityZones"]]
    )["Subnets"]
    assert {s["AvailabilityZone"] for s in subnets} == {f"{REGION}a", f"{REGION}b"}
    [targets] = client("elbv2").describe_target_groups()["TargetGroups"]
    assert (targets["Protocol"], targets["Port"]) == ("TCP", 8372)

    [group] = client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (group["MinSize"], group["MaxSize"]) == (2, 4)
    assert group["TargetGroupARNs"] == [targets["TargetGroupArn"]]

    [database] = client("rds").describe_db_instances()["DBInstances"]
    assert database["StorageEncrypted"]
    assert database["MultiAZ"]
    assert not database["PubliclyAccessible"]
    [logs] = client("logs").describe_log_groups()["logGroups"]
    assert logs["retentionInDays"] == 30

    # And routers are told of it.
    told = router_environment(client)
    assert told["TORPOR_EC2_DEPLOYMENT"] == "prod"
    assert told["GROUP"] == group["AutoScalingGroupName"] == "torpor-routers"
    assert told["TORPOR_EC2_SUBNETS"].split(",") == group["VPCZoneIdentifier"].split(",")
    assert told["DATABASE_SECRET"].startswith("arn:aws:secretsmanager:")
    assert told["TORPOR_EC2_IMAGE_X86_64"].startswith("ami-")
    groups = client("ec2").describe_security_groups(GroupIds=[told["TORPOR_EC2_SECURITY_GROUPS"]])[
        "SecurityGroups"
    ]
    [rule] = groups[0]["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"]) == (8372, identity.PORT)
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [outputs["RouterGroup"]]
    assert rule["IpRanges"] == []


def test_into_a_network_with_a_database_that_are_there(deploy, client, made, network):
    url = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:database-AbCdEf"
    outputs = deploy(
        "torpor",
        CertificateSecret=CERTIFICATE,
        Package=PACKAGE,
        DatabaseUrlSecret=url,
        Scheme="internet-facing",
        AlarmEmail="ops@example.com",
        MonitoringCidr="10.1.0.0/16",
        **network,
        **IMAGE,
    )
    assert outputs["Network"] == network["Network"]
    assert "Database" not in outputs
    names = made("torpor")
    assert not {n for n in names if n.startswith(("Database", "Public", "Private", "Nat", "Vpc"))}
    assert {"Alarms", "RouterMetrics"} <= names
    [door] = client("elbv2").describe_load_balancers()["LoadBalancers"]
    assert {z["SubnetId"] for z in door["AvailabilityZones"]} == set(
        network["PublicSubnets"].split(",")
    )
    told = router_environment(client)
    assert told["TORPOR_EC2_SUBNETS"] == network["PrivateSubnets"]
    assert told["DATABASE_SECRET"] == url
    alarms = client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert alarms
    assert all(len(alarm["AlarmActions"]) == 1 for alarm in alarms)


def test_a_customers_account_needs_only_its_own_stack(deploy, client, network):
    outputs = deploy(
        "customer",
        RouterRole="arn:aws:iam::210987654321:role/torpor-RouterRole",
        ExternalId="a-long-and-random-word",
        Network=network["Network"],
        RouterCidr="10.87.0.0/16",
    )
    assert ":role/torpor/torpor/" in outputs["Role"]
    name = outputs["Role"].rsplit("/", 1)[1]
    iam = client("iam")
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    [statement] = trust["Statement"]
    assert statement["Condition"]["StringEquals"] == {"sts:ExternalId": "a-long-and-random-word"}
    [attached] = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    version = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId="v1")
    document = version["PolicyVersion"]["Document"]
    vpcs = {
        arn
        for one in document["Statement"]
        for arn in one.get("Condition", {}).get("ArnEquals", {}).values()
    }
    assert vpcs == {f"arn:aws:ec2:{REGION}:123456789012:vpc/{network['Network']}"}
