"""The one error hierarchy, and what provisioners may raise.

Every failure that a person can meet is a class with a stable code, the gRPC status it is told
as, and a remedy. The base stands in the lowest package so that all three can extend it:

    1xxx caller and routing          (torpor_router.errors)
    2xxx wake and sleep              (torpor_statemachine.errors; 22xx here, from the cloud)
    3xxx limits                      (torpor_router.errors)
    4xxx satellite connection        (torpor_router.errors)
    5xxx the router itself           (torpor_router.errors, torpor_statemachine.errors)

A class without a code of its own is a family: it is caught, never raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import ClassVar


class Status(IntEnum):
    """The canonical RPC status codes (google.rpc.Code), which every gRPC client shows."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class TorporError(Exception):
    """A failure with a stable code.

    ``cause`` is one line that says what happened, ``remedy`` one line that says what to do next;
    ``detail`` is this occurrence's own part (a name, a limit, the cloud's words). No secret may
    stand in a detail: it reaches clients and logs.
    """

    code: ClassVar[str] = ""
    status: ClassVar[Status] = Status.UNKNOWN
    cause: ClassVar[str] = ""
    remedy: ClassVar[str] = ""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def message(self) -> str:
        """What happened, and where: neither the code nor what to do about it."""
        return f"{self.cause}: {self.detail}" if self.detail else self.cause

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The metadata that tells a client its parts: nobody has to take the text apart."""
        return (
            ("x-torpor-code", self.code),
            ("x-torpor-cause", self.cause),
            ("x-torpor-remedy", self.remedy),
        )

    def __str__(self) -> str:
        return f"{self.code} {self.message}. {self.remedy}"


def catalogue(family: type[TorporError] = TorporError) -> Iterator[type[TorporError]]:
    """Every class with a code below `family` that has been imported, once each."""
    for child in family.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from catalogue(child)


class ProvisionerError(TorporError):
    """What a provisioner raises; the caller acts on the class, never on the message."""


class NotReady(ProvisionerError):
    """The machine cannot take this call yet (still stopping, not yet visible), and nothing was
    done: try later."""

    code = "TPR-2201"
    status = Status.UNAVAILABLE
    cause = "The machine is not ready for that yet"
    remedy = "Nothing to do: Torpor tries again by itself"


class Capacity(ProvisionerError):
    """The cloud has no machine of that kind to give right now."""

    code = "TPR-2202"
    status = Status.UNAVAILABLE
    cause = "The cloud has no capacity for this kind of machine right now"
    remedy = "Retry in a few minutes, or allow alternative sizes for the satellite"


class Throttled(ProvisionerError):
    """The cloud asks for fewer calls."""

    code = "TPR-2203"
    status = Status.UNAVAILABLE
    cause = "The cloud is limiting the rate of calls"
    remedy = "Nothing to do: Torpor slows down and tries again"


class Quota(ProvisionerError):
    """The account may not have more."""

    code = "TPR-2204"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The cloud account's quota is used up"
    remedy = "Ask the platform team to raise the quota, or terminate an unused satellite"


class Gone(ProvisionerError):
    """The machine does not exist any more."""

    code = "TPR-2205"
    status = Status.FAILED_PRECONDITION
    cause = "The satellite's machine no longer exists"
    remedy = "Run 'satellite repair NAME' to launch a new machine under the same name"


class Denied(ProvisionerError):
    """The cloud refused the router's credentials or policy."""

    code = "TPR-2206"
    status = Status.FAILED_PRECONDITION
    cause = "The cloud refused the router's permissions"
    remedy = "Ask the platform team to check the router's role against the shipped policy"


class Invalid(ProvisionerError):
    """The request can never succeed as it is."""

    code = "TPR-2207"
    status = Status.INVALID_ARGUMENT
    cause = "The machine cannot be made as asked"
    remedy = "Correct what is named; a failed satellite's with 'satellite update', then 'repair'"


class Unanswered(ProvisionerError):
    """The call may have had its effect or not: look at the machine before another."""

    code = "TPR-2209"
    status = Status.UNAVAILABLE
    cause = "The cloud did not say whether it did what it was asked"
    remedy = "Nothing to do: Torpor looks at the machine and goes on"


class TimedOut(Unanswered):
    """No answer came within a call's own time limit."""

    code = "TPR-2215"
    cause = "The cloud did not answer in time"
    remedy = "Nothing to do: Torpor looks at the machine and goes on; see whether the cloud is well"


class StartFailed(ProvisionerError):
    """It took the start, and stopped the machine again by itself."""

    code = "TPR-2226"
    cause = "The cloud began to start the machine and then stopped it"
    remedy = (
        "Look at the cloud's words: often the key of its volumes is disabled or forbidden;"
        " the next request tries again"
    )


class NotInstalled(ProvisionerError):
    """A part that is not installed by default."""

    code = "TPR-2208"
    status = Status.FAILED_PRECONDITION
    cause = "A part that this needs is not installed"
    remedy = (
        "In Torpor's checkout, `make demo PROVISIONER=ec2` installs it;"
        " elsewhere install Torpor with the extra that is named"
    )
