"""What webhooks can fail with."""

from __future__ import annotations

from torpor_provisioner.errors import Status, TorporError


class NoticeError(TorporError):
    """What is wrong with a webhook, or with a delivery to it."""


class NoWebhookKey(NoticeError):
    code = "TPR-5520"
    status = Status.FAILED_PRECONDITION
    cause = "There is no key to keep the addresses and secrets of webhooks with"
    remedy = "Make one with 'torpor webhook key FILE', and give it as --webhook-key"


class BadWebhookKey(NoticeError):
    code = "TPR-5521"
    status = Status.FAILED_PRECONDITION
    cause = "The key of the webhooks cannot be used"
    remedy = "Give the file that 'torpor webhook key' made; older keys stay in it, a line each"


class BadWebhook(NoticeError):
    code = "TPR-5522"
    status = Status.INVALID_ARGUMENT
    cause = "There can be no such webhook"
    remedy = "Give an address as in https://hooks.example.com/torpor, and kinds that exist"


class UnknownWebhook(NoticeError):
    code = "TPR-5523"
    status = Status.NOT_FOUND
    cause = "There is no webhook of that name"
    remedy = "'satellite webhook ls' lists an org's, 'torpor webhook ls' all"


class WebhookExists(NoticeError):
    code = "TPR-5524"
    status = Status.ALREADY_EXISTS
    cause = "There is a webhook of that name already"
    remedy = "Choose another name, or remove the other one"


class TooManyWebhooks(NoticeError):
    code = "TPR-5525"
    status = Status.RESOURCE_EXHAUSTED
    cause = "There are as many webhooks as there may be"
    remedy = "Remove one that is not needed"


class AddressForbidden(NoticeError):
    code = "TPR-5526"
    status = Status.PERMISSION_DENIED
    cause = "The webhook's address is in a network that it may not reach"
    remedy = "Use a public https address, or have the platform team allow it with --webhooks-to"


class ReceiverFailed(NoticeError):
    code = "TPR-5527"
    status = Status.UNAVAILABLE
    cause = "The receiver did not take the notice"
    remedy = "See what it logs: it must answer 2xx within 10 seconds, without a redirect"


class NotDelivered(NoticeError):
    code = "TPR-5528"
    status = Status.UNAVAILABLE
    cause = "No router has delivered it yet"
    remedy = "Start routers with --webhook-key; 'webhook history NAME' tells when one has"


class TestNotice(NoticeError):
    """Not a failure: what a test delivery tells."""

    code = "TPR-5529"
    status = Status.UNKNOWN
    cause = "This is a test"
    remedy = "Nothing to do: the webhook works"
