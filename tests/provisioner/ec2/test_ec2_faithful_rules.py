"""The faithful EC2 as any client meets it: what it takes, what it refuses, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError
from waiting import LONG

from torpor_provisioner.faithful_ec2.machine import Phase
from torpor_provisioner.faithful_ec2.script import Effect, Fault
from torpor_provisioner.faithful_ec2.server import FaithfulEc2
from torpor_provisioner.faithful_ec2.stage import KEYS, Stage

ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"})
ROOT = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 40, "Encrypted": True}}


@pytest.fixture
def client(faithful: FaithfulEc2, stage: Stage) -> Iterator[Any]:
    made = boto3.client(  # type: ignore[call-overload]
        "ec2", endpoint_url=stage.endpoint, region_name=stage.region, config=ONCE, **KEYS
    )
    yield made
    made.close()


def _run(client: Any, stage: Stage, **more: Any) -> str:
    wanted: dict[str, Any] = {
        "ImageId": stage.images["x86_64"],
        "InstanceType": "m7i.large",
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": stage.subnets[0],
        "BlockDeviceMappings": [ROOT],
    }
    told = client.run_instances(**(wanted | more))
    [instance] = told["Instances"]
    assert instance["State"] == {"Code": 0, "Name": "pending"}
    return str(instance["InstanceId"])


def _see(client: Any, instance: str) -> Mapping[str, Any]:
    told = client.describe_instances(InstanceIds=[instance])
    return dict(told["Reservations"][0]["Instances"][0])


def _becomes(client: Any, instance: str, state: str) -> Mapping[str, Any]:
    wanted = [
        {"Name": "instance-id", "Values": [instance]},
        {"Name": "instance-state-name", "Values": [state]},
    ]
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        for held in client.describe_instances(Filters=wanted)["Reservations"]:
            return dict(held["Instances"][0])
        time.sleep(0.02)
    pytest.fail(f"{instance} should have become {state}")


def _running(client: Any, stage: Stage, *, hibernate: bool = True, **more: Any) -> str:
    instance = _run(client, stage, HibernationOptions={"Configured": hibernate}, **more)
    _becomes(client, instance, "running")
    return instance


def _refused(call: Any, **arguments: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    answer = refused.value.response
    return (
        answer["Error"]["Code"],
        answer["Error"]["Message"],
        answer["ResponseMetadata"]["HTTPStatusCode"],
    )


def _timing(faithful: FaithfulEc2, **seconds: float) -> None:
    with faithful.front.lock:
        faithful.front.world.timing = replace(faithful.front.world.timing, **seconds)


def test_a_client_token_makes_one_machine(client, stage, faithful) -> None:
    token = uuid4().hex
    first = _run(client, stage, ClientToken=token)
    assert _run(client, stage, ClientToken=token) == first
    assert _run(client, stage, ClientToken=uuid4().hex) != first
    code, _, status = _refused(
        client.run_instances,
        ImageId=stage.images["x86_64"],
        InstanceType="m7i.xlarge",
        MinCount=1,
        MaxCount=1,
        ClientToken=token,
    )
    assert (code, status) == ("IdempotentParameterMismatch", 400)
    assert [len(call.effective) for call in faithful.front.calls.of("RunInstances")] == [1, 0, 1, 0]


def test_a_new_machine_is_found_only_after_a_while(client, stage, faithful) -> None:
    _timing(faithful, appears=LONG)
    instance = _run(client, stage)
    code, message, _ = _refused(client.describe_instances, InstanceIds=[instance])
    assert code == "InvalidInstanceID.NotFound"
    assert instance in message
    listed = client.describe_instances()["Reservations"]
    assert instance not in {one["InstanceId"] for held in listed for one in held["Instances"]}


def test_stop_and_start_take_their_time(client, stage, faithful) -> None:
    instance = _running(client, stage)
    _timing(faithful, stop=LONG)
    told = client.stop_instances(InstanceIds=[instance])["StoppingInstances"]
    assert [(one["PreviousState"]["Name"], one["CurrentState"]["Name"]) for one in told] == [
        ("running", "stopping")
    ]
    code, message, _ = _refused(client.start_instances, InstanceIds=[instance])
    assert code == "IncorrectInstanceState"
    assert instance in message
    assert client.stop_instances(InstanceIds=[instance])["StoppingInstances"], "no refusal"
    with faithful.front.lock:
        faithful.front.world.machines[instance].due[0] = (0.0, Phase.STOPPED)
    stopped = _see(client, instance)
    assert stopped["State"]["Name"] == "stopped"
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    client.start_instances(InstanceIds=[instance])
    client.start_instances(InstanceIds=[instance])
    _becomes(client, instance, "running")
    starts = faithful.front.calls.of("StartInstances", instance)
    assert [bool(call.effective) for call in starts] == [False, True, False]
    assert [call.code for call in starts] == ["IncorrectInstanceState", "", ""]


def test_what_is_pending_cannot_be_stopped(client, stage, faithful) -> None:
    _timing(faithful, launch=LONG, appears=0.0)
    instance = _run(client, stage)
    code, _, _ = _refused(client.stop_instances, InstanceIds=[instance])
    assert code == "IncorrectInstanceState"


def test_hibernation_is_told_by_the_state_reason(client, stage) -> None:
    instance = _running(client, stage)
    client.stop_instances(InstanceIds=[instance], Hibernate=True)
    seen = _becomes(client, instance, "stopped")
    assert seen["StateReason"]["Code"] == "Client.UserInitiatedHibernate"


def test_a_hibernation_that_became_a_shutdown_is_told_as_it_was_asked_for(
    client, stage, faithful
) -> None:
    instance = _running(client, stage)
    faithful.front.script.faults.append(Fault("StopInstances", Effect.SHUT_DOWN, instance=instance))
    client.stop_instances(InstanceIds=[instance], Hibernate=True)
    seen = _becomes(client, instance, "stopped")
    assert seen["StateReason"]["Code"] == "Client.UserInitiatedHibernate"
    assert not faithful.front.world.machines[instance].frozen


def test_a_start_may_be_accepted_and_end_in_a_stop(client, stage, faithful) -> None:
    instance = _running(client, stage)
    client.stop_instances(InstanceIds=[instance])
    _becomes(client, instance, "stopped")
    disabled = "Client.InvalidKMSKey.InvalidState"
    fault = Fault("StartInstances", Effect.STOP_AGAIN, disabled, "The KMS key is disabled.")
    faithful.front.script.faults.append(fault)
    client.start_instances(InstanceIds=[instance])
    assert _becomes(client, instance, "stopped")["StateReason"] == {
        "Code": disabled,
        "Message": f"{disabled}: The KMS key is disabled.",
    }
    client.start_instances(InstanceIds=[instance])
    _becomes(client, instance, "running")


def test_hibernation_is_refused_where_it_was_not_set_up(client, stage) -> None:
    instance = _running(client, stage, hibernate=False)
    code, message, _ = _refused(client.stop_instances, InstanceIds=[instance], Hibernate=True)
    assert code == "UnsupportedHibernationConfiguration"
    assert instance in message


def test_hibernation_is_refused_while_the_machine_is_young(client, stage, faithful) -> None:
    _timing(faithful, young=LONG)
    instance = _running(client, stage)
    code, message, _ = _refused(client.stop_instances, InstanceIds=[instance], Hibernate=True)
    assert code == "UnsupportedOperation"
    assert "not ready to hibernate" in message


@pytest.mark.parametrize(
    ("size", "root", "told"),
    [
        ("t1.micro", ROOT, "does not support hibernation"),
        ("m7i.16xlarge", ROOT, "does not support hibernation"),
        ("m7i.large", {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 40}}, "encrypted"),
        (
            "m7i.large",
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "Encrypted": True}},
            "not large enough",
        ),
    ],
)
def test_hibernation_cannot_be_set_up_on_anything(
    client, stage, size: str, root: dict[str, Any], told: str
) -> None:
    code, message, _ = _refused(
        client.run_instances,
        ImageId=stage.images["x86_64"],
        InstanceType=size,
        MinCount=1,
        MaxCount=1,
        HibernationOptions={"Configured": True},
        BlockDeviceMappings=[root],
    )
    assert code == "UnsupportedHibernationConfiguration"
    assert told in message


def test_a_zone_may_have_no_capacity(client, stage, faithful) -> None:
    zone = f"{stage.region}a"
    instance = _running(client, stage)
    client.stop_instances(InstanceIds=[instance])
    _becomes(client, instance, "stopped")
    faithful.front.script.capacity["m7i.large", zone] = 0
    code, _, status = _refused(client.start_instances, InstanceIds=[instance])
    assert (code, status) == ("InsufficientInstanceCapacity", 500)
    code, message, _ = _refused(lambda: _run(client, stage))
    assert code == "InsufficientInstanceCapacity"
    assert zone in message
    _run(client, stage, SubnetId=stage.subnets[1])
    faithful.front.script.capacity["m7i.large", zone] = 1
    client.start_instances(InstanceIds=[instance])
    code, _, _ = _refused(lambda: _run(client, stage))
    assert code == "InsufficientInstanceCapacity", "the last one was taken"


def test_a_stop_gives_capacity_back(client, stage, faithful) -> None:
    key = ("m7i.large", f"{stage.region}a")
    faithful.front.script.capacity[key] = 1
    instance = _running(client, stage)
    assert faithful.front.script.capacity[key] == 0
    client.stop_instances(InstanceIds=[instance])
    _becomes(client, instance, "stopped")
    assert faithful.front.script.capacity[key] == 1
    client.terminate_instances(InstanceIds=[instance])
    assert faithful.front.script.capacity[key] == 1


def test_too_many_requests_are_refused(client, stage, faithful) -> None:
    instance = _running(client, stage)
    end = time.monotonic() + LONG

    def start_all_the_time() -> None:  # a slow machine's calls hardly outrun the bucket's refill
        while time.monotonic() < end:
            client.start_instances(InstanceIds=[instance])

    assert _refused(start_all_the_time) == ("RequestLimitExceeded", "Request limit exceeded.", 503)


def test_an_answer_may_be_lost_after_the_deed_is_done(client, stage, faithful) -> None:
    instance = _running(client, stage)
    faithful.front.script.faults.append(Fault("StopInstances", Effect.LOSE))
    with pytest.raises((HTTPClientError, EndpointConnectionError)):
        client.stop_instances(InstanceIds=[instance])
    [call] = faithful.front.calls.of("StopInstances", instance)
    assert call.lost
    assert call.effective == (instance,)
    _becomes(client, instance, "stopped")


def test_a_scripted_refusal_does_nothing_and_passes(client, stage, faithful) -> None:
    instance = _running(client, stage)
    fault = Fault("StopInstances", code="InternalError", message="sorry", status=500)
    faithful.front.script.faults.append(fault)
    assert _refused(client.stop_instances, InstanceIds=[instance]) == (
        "InternalError",
        "sorry",
        500,
    )
    assert _see(client, instance)["State"]["Name"] == "running"
    client.stop_instances(InstanceIds=[instance])


def test_the_private_address_is_kept_and_the_public_one_changes(client, stage) -> None:
    network = {
        "DeviceIndex": 0,
        "SubnetId": stage.subnets[0],
        "AssociatePublicIpAddress": True,
    }
    told = client.run_instances(
        ImageId=stage.images["x86_64"],
        InstanceType="m7i.large",
        MinCount=1,
        MaxCount=1,
        NetworkInterfaces=[network],
    )
    instance = told["Instances"][0]["InstanceId"]
    before = _becomes(client, instance, "running")
    assert before["PrivateIpAddress"].startswith("127.")
    client.stop_instances(InstanceIds=[instance])
    stopped = _becomes(client, instance, "stopped")
    assert stopped["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert "PublicIpAddress" not in stopped
    client.start_instances(InstanceIds=[instance])
    after = _becomes(client, instance, "running")
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] != before["PublicIpAddress"]


def test_the_type_changes_only_while_stopped_and_not_hibernated(client, stage) -> None:
    instance = _running(client, stage)

    def change() -> None:
        client.modify_instance_attribute(InstanceId=instance, InstanceType={"Value": "m7i.xlarge"})

    assert _refused(change)[0] == "IncorrectInstanceState"
    client.stop_instances(InstanceIds=[instance], Hibernate=True)
    _becomes(client, instance, "stopped")
    assert _refused(change)[0] == "UnsupportedOperation"
    client.start_instances(InstanceIds=[instance])
    _becomes(client, instance, "running")
    client.stop_instances(InstanceIds=[instance])
    _becomes(client, instance, "stopped")
    change()
    assert _see(client, instance)["InstanceType"] == "m7i.xlarge"


def test_a_request_is_taken_or_refused_as_a_whole(client, stage) -> None:
    instance = _running(client, stage)
    unknown = "i-0123456789abcdef0"
    code, message, _ = _refused(client.stop_instances, InstanceIds=[instance, unknown])
    assert code == "InvalidInstanceID.NotFound"
    assert unknown in message
    assert instance not in message
    assert _see(client, instance)["State"]["Name"] == "running"


def test_a_role_wants_its_external_id(faithful: FaithfulEc2, stage: Stage) -> None:
    role = "arn:aws:iam::333344445555:role/torpor"
    faithful.front.trust[role] = "right"
    sts = boto3.client(  # type: ignore[call-overload]
        "sts", endpoint_url=stage.endpoint, region_name=stage.region, config=ONCE, **KEYS
    )
    code, _, status = _refused(
        sts.assume_role, RoleArn=role, RoleSessionName="test", ExternalId="wrong"
    )
    assert (code, status) == ("AccessDenied", 403)
    told = sts.assume_role(RoleArn=role, RoleSessionName="test", ExternalId="right")
    there = boto3.client(
        "ec2",
        endpoint_url=stage.endpoint,
        region_name=stage.region,
        aws_access_key_id=told["Credentials"]["AccessKeyId"],
        aws_secret_access_key=told["Credentials"]["SecretAccessKey"],
        aws_session_token=told["Credentials"]["SessionToken"],
    )
    assert there.describe_instances()["Reservations"] == []
    assert faithful.front.calls.of("DescribeInstances")[-1].account == "333344445555"
    for made in (sts, there):
        made.close()
