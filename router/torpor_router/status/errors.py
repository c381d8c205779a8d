"""What the status page refuses (family 55xx)."""

from __future__ import annotations

from torpor_provisioner.errors import Status, TorporError


class StatusError(TorporError):
    """What the status page answers instead of a page."""


class NotSignedIn(StatusError):
    code = "TPR-5501"
    status = Status.UNAUTHENTICATED
    cause = "Nobody is signed in to the status page here"
    remedy = "Sign in with a token that may look at satellites"


class NoSuchPage(StatusError):
    code = "TPR-5502"
    status = Status.NOT_FOUND
    cause = "The status page has no such page"
    remedy = "Begin at the fleet, and follow a link from there"


class BadFilter(StatusError):
    code = "TPR-5503"
    status = Status.INVALID_ARGUMENT
    cause = "The page cannot be shown as it is asked for"
    remedy = "Correct the address, or search anew from the fleet's page"


class TooManyViewers(StatusError):
    code = "TPR-5504"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many pages are open that follow the fleet live"
    remedy = "Nothing to do: the page is as it was when it was loaded; load it again later"


class FromElsewhere(StatusError):
    code = "TPR-5505"
    status = Status.PERMISSION_DENIED
    cause = "Another site's page wanted to sign you in or out"
    remedy = "Do so on the status page itself"


class FormTooLarge(StatusError):
    code = "TPR-5506"
    status = Status.INVALID_ARGUMENT
    cause = "The form that was sent is too large, too slow, or none"
    remedy = "Sign in on the status page itself, with a token of at most 4,096 characters"
