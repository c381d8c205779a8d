"""The policy for machines: all that the ec2 provisioner does, and nothing to anybody else's."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from uuid import uuid4

import pytest
from infrakit.evaluator import allows, as_list

from torpor_provisioner.contract import Arch, Spec
from torpor_provisioner.ec2 import feed, plan, tags
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.kinds import Image, InstanceType
from torpor_provisioner.ec2.settings import Ec2Settings, Place

ARN = "arn:aws:ec2:eu-west-1:123456789012:"
OURS = {f"aws:ResourceTag/{tags.DEPLOYMENT}": "prod"}
MARKED = {f"aws:RequestTag/{tags.DEPLOYMENT}": "prod"}
THEIRS = [{}, {f"aws:ResourceTag/{tags.DEPLOYMENT}": "staging"}]
CHANGES = [action for action in Action if not action.reads]
VPC = {"ec2:Vpc": f"{ARN}vpc/vpc-1"}
REGION = {"aws:RequestedRegion": "eu-west-1"}
SAFE = {"ec2:MetadataHttpTokens": "required", "ec2:InstanceType": "m7i.large"}
ENCRYPTED = {"ec2:Encrypted": "true"}
MACHINE, VOLUME, INTERFACE = f"{ARN}instance/i-1", f"{ARN}volume/v-1", f"{ARN}network-interface/e-1"
IMAGE, SNAPSHOT = "arn:aws:ec2:eu-west-1::image/ami-1", "arn:aws:ec2:eu-west-1::snapshot/snap-1"

# Every call of the provisioner, with each resource that AWS checks it on ("Actions, resources, and
# condition keys for Amazon EC2", Service Authorization Reference).
CALLS = [
    *((action, "*", REGION) for action in Action if action.reads),
    (Action.RUN_INSTANCES, MACHINE, MARKED | SAFE),
    (Action.RUN_INSTANCES, VOLUME, MARKED | ENCRYPTED),
    (Action.RUN_INSTANCES, INTERFACE, MARKED | VPC),
    (Action.RUN_INSTANCES, f"{ARN}subnet/subnet-1", VPC),
    (Action.RUN_INSTANCES, f"{ARN}security-group/sg-1", VPC),
    (Action.RUN_INSTANCES, IMAGE, {}),
    *(
        (Action.CREATE_TAGS, made, MARKED | {"ec2:CreateAction": "RunInstances"})
        for made in (MACHINE, VOLUME, INTERFACE)
    ),
    (Action.START_INSTANCES, MACHINE, OURS),
    (Action.STOP_INSTANCES, MACHINE, OURS),
    (Action.TERMINATE_INSTANCES, MACHINE, OURS),
    (Action.MODIFY_INSTANCE_ATTRIBUTE, MACHINE, OURS),
    (Action.MODIFY_INSTANCE_ATTRIBUTE, VOLUME, OURS),
    (Action.CREATE_TAGS, MACHINE, OURS | {"aws:TagKeys": [tags.SIZES]}),
    (Action.MODIFY_VOLUME, VOLUME, OURS),
    (Action.CREATE_VOLUME, VOLUME, MARKED | ENCRYPTED),
    (Action.CREATE_VOLUME, SNAPSHOT, {}),
    (Action.CREATE_TAGS, VOLUME, MARKED | {"ec2:CreateAction": "CreateVolume"}),
    *(
        (a, r, OURS)
        for a in (Action.ATTACH_VOLUME, Action.DETACH_VOLUME)
        for r in (MACHINE, VOLUME)
    ),
    (Action.DELETE_VOLUME, VOLUME, OURS),
]


def test_the_policy_names_the_provisioners_actions_and_no_other(policy):
    named = {a for s in policy()["Statement"] for a in as_list(s["Action"])}
    assert named == {f"ec2:{action}" for action in Action} | {"iam:PassRole"}


def test_every_action_is_among_the_calls_that_are_tried():
    assert {action for action, *_ in CALLS} == set(Action)


@pytest.mark.parametrize(("action", "resource", "context"), CALLS)
def test_the_provisioner_may_do_what_it_does(policy, action, resource, context):
    assert allows(policy(), f"ec2:{action}", resource, context)


@pytest.mark.parametrize("resource", [MACHINE, VOLUME, INTERFACE])
@pytest.mark.parametrize("context", THEIRS)
@pytest.mark.parametrize("action", CHANGES)
def test_what_it_did_not_make_it_cannot_change(policy, action, context, resource):
    """Whatever else is said in the request: an existing thing is known by its tag alone."""
    tricks = [{}, SAFE, ENCRYPTED, VPC, REGION, {"aws:TagKeys": [tags.SIZES]}]
    if action not in {Action.RUN_INSTANCES, Action.CREATE_VOLUME}:  # these two change nothing old
        tricks += [MARKED, MARKED | {"aws:TagKeys": [tags.SIZES]}]
    for trick in tricks:
        assert not allows(policy(), f"ec2:{action}", resource, context | trick)


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        # A thing without the deployment's tag would never be found again.
        (Action.RUN_INSTANCES, MACHINE, SAFE),
        (Action.RUN_INSTANCES, INTERFACE, VPC),
        (Action.CREATE_VOLUME, VOLUME, ENCRYPTED),
        # No metadata service that a build's GET could read, no disk in the clear.
        (Action.RUN_INSTANCES, MACHINE, MARKED),
        (Action.RUN_INSTANCES, VOLUME, MARKED | {"ec2:Encrypted": "false"}),
        # A size that costs a hundred times as much.
        (Action.RUN_INSTANCES, MACHINE, MARKED | SAFE | {"ec2:InstanceType": "p5.48xlarge"}),
        # Another network, or another group within it: the database's, the routers'.
        (Action.RUN_INSTANCES, f"{ARN}security-group/sg-2", VPC),
        (Action.RUN_INSTANCES, f"{ARN}subnet/subnet-2", {"ec2:Vpc": f"{ARN}vpc/vpc-2"}),
        # Taking a thing over by tagging it, and letting one of ours go.
        (Action.CREATE_TAGS, MACHINE, MARKED | {"aws:TagKeys": [tags.DEPLOYMENT]}),
        (Action.CREATE_TAGS, MACHINE, OURS | {"aws:TagKeys": [tags.DEPLOYMENT]}),
        (Action.CREATE_TAGS, f"{ARN}security-group/sg-1", MARKED),
        # Another Region, another account.
        (Action.DESCRIBE_INSTANCES, "*", {"aws:RequestedRegion": "us-east-1"}),
        (Action.STOP_INSTANCES, "arn:aws:ec2:us-east-1:123456789012:instance/i-1", OURS),
        (Action.STOP_INSTANCES, "arn:aws:ec2:eu-west-1:210987654321:instance/i-1", OURS),
    ],
)
def test_the_policy_allows_no_more(policy, action, resource, context):
    assert not allows(policy(), f"ec2:{action}", resource, context)


def test_every_statement_that_changes_something_asks_for_the_tag(policy):
    """By its form too: only what a launch uses and does not change goes without."""
    used = ("image/", "snapshot/", "subnet/", "security-group/")
    reading = {f"ec2:{action}" for action in Action if action.reads}
    for statement in policy()["Statement"]:
        actions, resources = as_list(statement["Action"]), as_list(statement["Resource"])
        if set(actions) <= reading or actions == ["iam:PassRole"]:
            continue
        keys = set(itertools.chain(*statement.get("Condition", {}).values()))
        asks = keys & {f"aws:{kind}/{tags.DEPLOYMENT}" for kind in ("RequestTag", "ResourceTag")}
        assert asks or all(r.split(":")[5].startswith(used) for r in resources), statement["Sid"]


@pytest.mark.parametrize(
    ("role", "service", "allowed"),
    [
        ("satellite", "ec2.amazonaws.com", True),
        ("satellite", "lambda.amazonaws.com", False),
        ("admin", "ec2.amazonaws.com", False),
    ],
)
def test_machines_get_their_own_role_alone(policy, role, service, allowed):
    arn = f"arn:aws:iam::123456789012:role/{role}"
    context = {"iam:PassedToService": service}
    assert allows(policy(), "iam:PassRole", arn, context) is allowed


def test_the_feeds_policy_names_the_calls_of_the_feed(infra):
    calls = set(re.findall(r"client\.(\w+)\(", inspect.getsource(feed)))
    assert calls == {"receive_message", "delete_message_batch"}
    [statement] = json.loads((infra / "iam" / "feed.json").read_text())["Statement"]
    # "DeleteMessageBatch" is allowed by sqs:DeleteMessage (SQS Developer Guide, "API permissions").
    assert set(statement["Action"]) == {"sqs:ReceiveMessage", "sqs:DeleteMessage"}


def test_a_launch_meets_the_conditions_of_its_policy(policy):
    """What the launch plan asks for, told as AWS tells it to the policy."""
    settings = Ec2Settings(
        deployment="prod",
        place=Place(region="eu-west-1", subnets=("subnet-1",), security_groups=("sg-1",)),
        images={Arch.X86_64: "ami-12345678"},
    )
    spec = Spec(uuid4(), 1, "acme", "one", Arch.X86_64, hibernate=True)
    arguments = plan.run_arguments(
        spec,
        "token",
        kind=InstanceType.read(
            {
                "InstanceType": "m7i.xlarge",
                "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
                "VCpuInfo": {"DefaultVCpus": 4},
                "MemoryInfo": {"SizeInMiB": 16384},
                "HibernationSupported": True,
            }
        ),
        image=Image.read(
            {
                "ImageId": "ami-12345678",
                "Architecture": "x86_64",
                "RootDeviceName": "/dev/xvda",
                "BlockDeviceMappings": [
                    {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "SnapshotId": "snap-1"}}
                ],
            }
        ),
        subnet="subnet-1",
        wishes=plan.Wishes.read(spec, settings),
        place=settings.place,
        settings=settings,
    )
    requested = {
        one["ResourceType"]: {f"aws:RequestTag/{t['Key']}": t["Value"] for t in one["Tags"]}
        for one in arguments["TagSpecifications"]
    }
    tokens = {
        "ec2:MetadataHttpTokens": arguments["MetadataOptions"]["HttpTokens"],
        "ec2:InstanceType": arguments["InstanceType"],
    }
    assert allows(policy(), "ec2:RunInstances", MACHINE, requested["instance"] | tokens)
    for mapping in arguments["BlockDeviceMappings"]:
        encrypted = {"ec2:Encrypted": mapping["Ebs"]["Encrypted"]}
        assert allows(policy(), "ec2:RunInstances", VOLUME, requested["volume"] | encrypted)
    assert allows(policy(), "ec2:RunInstances", INTERFACE, requested["network-interface"])
