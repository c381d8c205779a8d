"""What AWS's refusals mean to the caller, by code.

Codes and messages are those of "Error codes for the Amazon EC2 API" (Amazon EC2 Developer Guide,
docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html) and of "Common errors" of AWS STS.
An unlisted code is Invalid if AWS blames the request (HTTP 4xx), and else Unanswered: AWS may
have done what was asked all the same.
"""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
)
from botocore.parsers import ResponseParserError

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

INSTANCE = re.compile(r"\bi-[0-9a-f]{8,17}\b")
SECRETIVE = re.compile(r"Encoded authorization failure message: \S+")

MEANINGS: dict[type[ProvisionerError], frozenset[str]] = {
    Capacity: frozenset(
        {
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientCapacity",
            "InsufficientAddressCapacity",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientVolumeCapacity",
            "Server.InsufficientInstanceCapacity",
            "SpotMaxPriceTooLow",
            "Unsupported",  # this type is not sold in this zone: another subnet may do
        }
    ),
    Throttled: frozenset(
        {
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "SlowDown",
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
        }
    ),
    Quota: frozenset(
        {
            "InstanceLimitExceeded",
            "VcpuLimitExceeded",
            "VolumeLimitExceeded",
            "MaxIOPSLimitExceeded",
            "MaxSpotInstanceCountExceeded",
            "NetworkInterfaceLimitExceeded",
            "PrivateIpAddressLimitExceeded",
            "ResourceLimitExceeded",
            "HostLimitExceeded",
            "Client.VolumeLimitExceeded",
        }
    ),
    Gone: frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}),
    Denied: frozenset(
        {
            "UnauthorizedOperation",
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "Blocked",
            "OptInRequired",
            "PendingVerification",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "MissingAuthenticationToken",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "RegionDisabledException",
            "OperationNotPermitted",  # stop or termination protection
        }
    ),
    NotReady: frozenset(
        {
            "IdempotentParameterMismatch",  # an earlier attempt's machine will be found by its tag
            "IncorrectInstanceState",
            "IncorrectState",
            "IncorrectModificationState",
            "VolumeInUse",
            "VolumeModificationRateExceeded",
            "DependencyViolation",
            "ResourceInUse",
        }
    ),
    Unanswered: frozenset(
        {
            "InternalError",
            "InternalFailure",
            "ServerInternal",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
        }
    ),
}

BY_CODE = {code: meaning for meaning, codes in MEANINGS.items() for code in codes}


class Fault(Exception):
    """A call to AWS that failed. It stays inside this package; `as_error` is what callers get."""

    def __init__(self, action: str, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{action}: {code}: {message}")
        self.action = action
        self.code = code
        self.message = message
        self.status = status

    def __repr__(self) -> str:
        return f"<Fault {self}>"

    @property
    def meaning(self) -> type[ProvisionerError]:
        known = BY_CODE.get(self.code)
        return known or (Invalid if 400 <= self.status < 500 else Unanswered)

    @property
    def unsure(self) -> bool:
        """Whether the call may have had its effect."""
        return self.meaning is Unanswered

    @property
    def instances(self) -> frozenset[str]:
        """The instances that AWS named in its message."""
        return frozenset(INSTANCE.findall(self.message))

    def as_error(self) -> ProvisionerError:
        """In the contract's words, without what AWS encodes for administrators."""
        return self.meaning(
            f"{self.action}: {self.code}: {SECRETIVE.sub('', self.message)}".strip()
        )


UNREADABLE = (KeyError, TypeError, AttributeError, ValueError)  # an answer that lacks its parts
NO_ANSWER = "InternalError"  # how a connection that broke is told: it means the same
WORDS = 300  # characters that are kept of what is no answer of AWS's

# What the SDK lets out: its own, its HTTP client's, and of a proxy that answers instead of AWS.
FAILURES = (
    ClientError,
    BotoCoreError,
    ResponseParserError,
    aiohttp.ClientError,
    TimeoutError,
    OSError,
)


def fault(action: str, error: Exception) -> Fault:
    """Read one of FAILURES."""
    if isinstance(error, ClientError):
        answer: dict[str, Any] = dict(error.response)
        body = answer.get("Error", {})
        return Fault(
            action,
            body.get("Code", ""),
            body.get("Message", ""),
            answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 400),
        )
    if isinstance(error, NoCredentialsError):
        return Fault(action, "MissingAuthenticationToken", str(error))
    if isinstance(error, ParamValidationError):
        return Fault(action, "InvalidParameterValue", str(error))
    return no_answer(action, str(error) or type(error).__name__)


def no_answer(action: str, why: str) -> Fault:
    """Nothing came back that could be read; what was asked may have been done."""
    return Fault(action, NO_ANSWER, f"no answer: {why[:WORDS]}", status=500)
