"""Why an identity provider's word is not enough."""

from __future__ import annotations

from torpor_provisioner.errors import Status
from torpor_router.access.errors import AccessError


class AssertionRefused(AccessError):
    code = "TPR-1137"
    status = Status.UNAUTHENTICATED
    cause = "The identity token is not accepted"
    remedy = "Get a new one from the CI system; it must be signed, for this audience, and not ended"


class NoRuleMatches(AccessError):
    code = "TPR-1138"
    status = Status.PERMISSION_DENIED
    cause = "No trust rule of an org matches the identity token"
    remedy = "Ask an admin of the org to add one ('satellite trust add NAME')"


class IssuerAway(AccessError):
    code = "TPR-1139"
    status = Status.UNAVAILABLE
    cause = "The identity provider's keys cannot be fetched"
    remedy = "Retry; the router needs HTTPS to the issuer, and a CA that it believes"


class AssertionReplayed(AccessError):
    code = "TPR-1140"
    status = Status.UNAUTHENTICATED
    cause = "The identity token was used before, or in place of a token, and its rule forbids that"
    remedy = "Exchange each one once (torpor.v1.Access/Exchange), and use the token got for it"


class BadTrustRule(AccessError):
    code = "TPR-1141"
    status = Status.INVALID_ARGUMENT
    cause = "The trust rule cannot be used"
    remedy = "Give an https issuer, an audience, a subject pattern and 1 minute to 1 day"


class TrustRuleExists(AccessError):
    code = "TPR-1142"
    status = Status.ALREADY_EXISTS
    cause = "The org has a trust rule of this name already"
    remedy = "Choose another name, or remove that one first ('satellite' or 'torpor trust rm')"


class UnknownTrustRule(AccessError):
    code = "TPR-1143"
    status = Status.NOT_FOUND
    cause = "The org has no such trust rule"
    remedy = "'satellite trust ls' or 'torpor trust ls' lists them"


class UnknownGrantType(AccessError):
    code = "TPR-1144"
    status = Status.INVALID_ARGUMENT
    cause = "The exchange is of a kind that is not known here"
    remedy = "Leave grant_type and subject_token_type empty, or give those of RFC 8693 for a JWT"
