"""Real refusals of AWS, and what they mean to the caller."""

from __future__ import annotations

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.ec2.faults import BY_CODE, FAILURES, MEANINGS, Fault, fault
from torpor_provisioner.errors import (
    Capacity,
    Denied,
    Gone,
    Invalid,
    NotReady,
    ProvisionerError,
    Quota,
    Throttled,
    Unanswered,
)

# Action, HTTP status, code and message as AWS gives them, and the class of the contract.
TABLE: list[tuple[str, int, str, str, type[ProvisionerError]]] = [
    (
        "RunInstances",
        500,
        "InsufficientInstanceCapacity",
        (
            "We currently do not have sufficient m7i.xlarge capacity in the Availability Zone"
            " you requested (us-east-1a). Our system will be working on provisioning "
            "additional capacity. You can currently get m7i.xlarge capacity by not specifying"
            " an Availability Zone in your request or choosing us-east-1b, us-east-1c."
        ),
        Capacity,
    ),
    ("StartInstances", 500, "InsufficientInstanceCapacity", "Insufficient capacity.", Capacity),
    (
        "RunInstances",
        400,
        "Unsupported",
        (
            "Your requested instance type (m7i.large) is not supported in your requested "
            "Availability Zone (us-east-1e). Please retry your request by not specifying an "
            "Availability Zone or choosing us-east-1a, us-east-1b, us-east-1c, us-east-1d, "
            "us-east-1f."
        ),
        Capacity,
    ),
    (
        "RunInstances",
        400,
        "InsufficientFreeAddressesInSubnet",
        (
            "There are not enough free addresses in subnet 'subnet-1a2b3c4d' to satisfy the "
            "requested number of instances."
        ),
        Capacity,
    ),
    ("StartInstances", 503, "RequestLimitExceeded", "Request limit exceeded.", Throttled),
    (
        "RunInstances",
        503,
        "RequestLimitExceeded",
        (
            "Request limit exceeded. Account 123456789012 has been throttled on "
            "ec2:RunInstances because it exceeded its resource token bucket."
        ),
        Throttled,
    ),
    ("AssumeRole", 400, "Throttling", "Rate exceeded", Throttled),
    (
        "RunInstances",
        400,
        "VcpuLimitExceeded",
        (
            "You have requested more vCPU capacity than your current vCPU limit of 32 allows "
            "for the instance bucket that the specified instance type belongs to. Please "
            "visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to "
            "this limit."
        ),
        Quota,
    ),
    (
        "RunInstances",
        400,
        "InstanceLimitExceeded",
        "Your quota allows for 0 more running instance(s). You requested at least 1.",
        Quota,
    ),
    (
        "RunInstances",
        400,
        "VolumeLimitExceeded",
        "You have exceeded your maximum gp3 storage limit of 20 TiB in this region.",
        Quota,
    ),
    (
        "StartInstances",
        400,
        "InvalidInstanceID.NotFound",
        "The instance ID 'i-0123456789abcdef0' does not exist",
        Gone,
    ),
    (
        "DescribeInstances",
        400,
        "InvalidInstanceID.Malformed",
        'Invalid id: "i-012345678"',
        Gone,
    ),
    (
        "StartInstances",
        400,
        "IncorrectInstanceState",
        "The instance 'i-0123456789abcdef0' is not in a state from which it can be started.",
        NotReady,
    ),
    (
        "ModifyVolume",
        400,
        "VolumeModificationRateExceeded",
        (
            "You've reached the maximum modification rate per volume limit. Wait at least 6 "
            "hours between modifications per EBS volume."
        ),
        NotReady,
    ),
    (
        "AttachVolume",
        400,
        "VolumeInUse",
        "vol-0123456789abcdef0 is already attached to an instance",
        NotReady,
    ),
    (
        "RunInstances",
        400,
        "IdempotentParameterMismatch",
        (
            "Arguments on this idempotent request are inconsistent with arguments used in "
            "previous request(s)."
        ),
        NotReady,
    ),
    ("StopInstances", 500, "InternalError", "An internal error has occurred", Unanswered),
    ("StopInstances", 503, "Unavailable", "The server is overloaded", Unanswered),
    (
        "RunInstances",
        403,
        "UnauthorizedOperation",
        (
            "You are not authorized to perform this operation. Encoded authorization failure "
            "message: 4GIOHlTkIaWHQD0Q0m6XSnuUMCm-abcdef"
        ),
        Denied,
    ),
    (
        "AssumeRole",
        403,
        "AccessDenied",
        (
            "User: arn:aws:sts::123456789012:assumed-role/torpor/i-0123456789abcdef0 is not "
            "authorized to perform: sts:AssumeRole on resource: "
            "arn:aws:iam::210987654321:role/torpor"
        ),
        Denied,
    ),
    (
        "DescribeInstances",
        401,
        "AuthFailure",
        "AWS was not able to validate the provided access credentials",
        Denied,
    ),
    ("DescribeInstances", 400, "RequestExpired", "Request has expired.", Denied),
    (
        "GetCallerIdentity",
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
        Denied,
    ),
    (
        "TerminateInstances",
        400,
        "OperationNotPermitted",
        (
            "The instance 'i-0123456789abcdef0' may not be terminated. Modify its "
            "'disableApiTermination' instance attribute and try again."
        ),
        Denied,
    ),
    (
        "RunInstances",
        401,
        "OptInRequired",
        "In order to use this AWS Marketplace product you need to accept terms and subscribe.",
        Denied,
    ),
    (
        "RunInstances",
        400,
        "PendingVerification",
        (
            "Your request for accessing resources in this region is being validated, and you "
            "will not be able to launch additional resources in this region until the "
            "validation is complete."
        ),
        Denied,
    ),
    (
        "RunInstances",
        400,
        "InvalidAMIID.NotFound",
        "The image id '[ami-0123456789abcdef0]' does not exist",
        Invalid,
    ),
    (
        "RunInstances",
        400,
        "InvalidParameterValue",
        (
            "Value (torpor) for parameter iamInstanceProfile.name is invalid. Invalid IAM "
            "Instance Profile name"
        ),
        Invalid,
    ),
    (
        "RunInstances",
        400,
        "InvalidSubnetID.NotFound",
        "The subnet ID 'subnet-0123456789abcdef0' does not exist",
        Invalid,
    ),
    (
        "StopInstances",
        400,
        "UnsupportedHibernationConfiguration",
        "The instance can't be hibernated because it was not configured for hibernation.",
        Invalid,
    ),
    ("RunInstances", 400, "SomethingNewOfTheirs", "No.", Invalid),
    ("RunInstances", 502, "SomethingNewOfTheirs", "No.", Unanswered),
]


def _refusal(action: str, status: int, code: str, message: str) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "59dbff89"},  # type: ignore[typeddict-item]
        },
        action,
    )


@pytest.mark.parametrize(
    ("action", "status", "code", "message", "meaning"),
    TABLE,
    ids=[f"{row[0]}-{row[2]}-{row[1]}" for row in TABLE],
)
def test_what_aws_refuses(
    action: str, status: int, code: str, message: str, meaning: type[ProvisionerError]
) -> None:
    failed = fault(action, _refusal(action, status, code, message))
    assert failed.meaning is meaning
    told = failed.as_error()
    assert type(told) is meaning
    assert told.detail.startswith(f"{action}: {code}: ")
    assert "Encoded authorization failure message" not in str(told)


@pytest.mark.parametrize(
    ("code", "status", "unsure"),
    [
        ("InternalError", 500, True),
        ("Unavailable", 503, True),
        ("SomethingNewOfTheirs", 500, True),
        ("RequestLimitExceeded", 503, False),
        ("InsufficientInstanceCapacity", 500, False),
        ("IncorrectInstanceState", 400, False),
        ("InvalidParameterValue", 400, False),
    ],
)
def test_after_which_refusals_it_may_have_been_done(code: str, status: int, unsure: bool) -> None:
    assert Fault("StopInstances", code, "", status).unsure is unsure


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://ec2.invalid"),
        ReadTimeoutError(endpoint_url="https://ec2.invalid"),
        aiohttp.ClientPayloadError("Response payload is not completed"),
        ResponseParserError("Unable to parse response\n<html>" + "x" * 10_000),
        TimeoutError(),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer_is_unsure_and_to_be_tried_again(error: Exception) -> None:
    assert isinstance(error, FAILURES)
    failed = fault("StopInstances", error)
    assert failed.unsure
    assert failed.meaning is Unanswered
    assert len(str(failed.as_error())) < 1000, "a proxy's page is not carried to every client"


def test_no_credentials_and_bad_arguments() -> None:
    assert fault("StopInstances", NoCredentialsError()).meaning is Denied
    bad = ParamValidationError(report="Missing required parameter")
    assert fault("StopInstances", bad).meaning is Invalid


def test_the_machines_that_a_refusal_names() -> None:
    message = "The instance IDs 'i-0123456789abcdef0, i-1a2b3c4d' do not exist"
    named = Fault("DescribeInstances", "InvalidInstanceID.NotFound", message).instances
    assert named == {"i-0123456789abcdef0", "i-1a2b3c4d"}
    assert Fault("StartInstances", "InternalError", "sorry").instances == frozenset()


def test_an_answer_without_an_error_in_it() -> None:
    failed = fault("StopInstances", ClientError({}, "StopInstances"))
    assert failed.meaning is Invalid
    assert "StopInstances" in str(failed.as_error())


@given(code=st.text(), message=st.text(), status=st.integers(100, 599))
def test_every_refusal_has_one_meaning_and_is_told(code: str, message: str, status: int) -> None:
    failed = fault("StopInstances", _refusal("StopInstances", status, code, message))
    assert issubclass(failed.meaning, ProvisionerError)
    assert failed.meaning.code
    assert isinstance(failed.as_error(), failed.meaning)


def test_no_code_has_two_meanings() -> None:
    assert sum(map(len, MEANINGS.values())) == len(BY_CODE)
