"""What the control API refuses by itself; the rest comes from the lifecycle and from `access`."""

from __future__ import annotations

from torpor_provisioner.errors import Status
from torpor_router.errors import RouterError


class BadName(RouterError):
    code = "TPR-1301"
    status = Status.INVALID_ARGUMENT
    cause = "No satellite can be called that"
    remedy = (
        "Use 1 to 40 lower-case letters, digits and single hyphens,"
        " with a letter or digit at both ends"
    )


class UnknownChoice(RouterError):
    code = "TPR-1302"
    status = Status.INVALID_ARGUMENT
    cause = "The request asks for something that this router does not know"
    remedy = "Correct the request, or ask the platform team for newer routers"


class NothingToChange(RouterError):
    code = "TPR-1303"
    status = Status.INVALID_ARGUMENT
    cause = "The request says nothing that is to be changed"
    remedy = "Give a size, a sleep mode, an idle time, settings or labels"


class BadLimit(RouterError):
    code = "TPR-1304"
    status = Status.INVALID_ARGUMENT
    cause = "That many transitions cannot be asked for"
    remedy = "Ask for 1 to 1000"


class BadPage(RouterError):
    code = "TPR-1145"
    status = Status.INVALID_ARGUMENT
    cause = "That page of the list cannot be asked for"
    remedy = "Give a page_size of 1 to 1000, and the next_page_token of the page before unchanged"


class BadMask(RouterError):
    code = "TPR-1146"
    status = Status.INVALID_ARGUMENT
    cause = "The update mask names a field that cannot be changed"
    remedy = "Name size, sleep_mode, sleep_after, settings or labels"


class UnreadableMessage(RouterError):
    code = "TPR-1109"
    status = Status.INVALID_ARGUMENT
    cause = "The call's message cannot be read"
    remedy = "Send one message of the type that the .proto names; reflection tells it too"


class WokenMeanwhile(RouterError):
    code = "TPR-2101"
    status = Status.FAILED_PRECONDITION
    cause = "The satellite was woken before it slept"
    remedy = "Run 'satellite history NAME' to see who woke it, and put it to sleep again"


class TooManyWatchers(RouterError):
    code = "TPR-3101"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The org watches too many satellites on this router already"
    remedy = "End some 'satellite wake', 'sleep' or 'follow' commands, and retry"


class TooManyCalls(RouterError):
    code = "TPR-3014"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many calls of the control API are under way for this caller"
    remedy = "Retry when some have ended; the rest is kept free for others"


class TooManyUnauthenticated(RouterError):
    code = "TPR-3015"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many calls without credentials are open on this router"
    remedy = "Retry later; 'grpc.health.v1.Health/Check' is not limited so"


class UnauthenticatedTooLong(RouterError):
    code = "TPR-5302"
    status = Status.UNAVAILABLE
    cause = "The call was open for as long as one without credentials may be"
    remedy = "Nothing to do: call again"


class MessageTooLarge(RouterError):
    code = "TPR-5303"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The call's message is too large"
    remedy = "Send less: a satellite's settings are the largest part, 32 KiB at most"


class ControlFailed(RouterError):
    code = "TPR-5301"
    status = Status.INTERNAL
    cause = "The control API failed"
    remedy = "Retry; report it to the platform team with the time and this code"
