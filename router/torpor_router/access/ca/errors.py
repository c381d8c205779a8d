"""What a CA can be asked and does not do (codes 115x)."""

from __future__ import annotations

from torpor_provisioner.errors import Status
from torpor_router.access.errors import AccessError


class BadCertificateRequest(AccessError):
    code = "TPR-1150"
    status = Status.INVALID_ARGUMENT
    cause = "The request for a certificate cannot be used"
    remedy = (
        "Send a PKCS #10 request, signed with a key on P-256 or P-384, Ed25519, or RSA of 2048 bits"
    )


class BadCertificateLifetime(AccessError):
    code = "TPR-1151"
    status = Status.INVALID_ARGUMENT
    cause = "A certificate cannot be good for so long"
    remedy = "Ask for 1m to 90d, and for a new one before it ends"


class NoAuthority(AccessError):
    code = "TPR-1152"
    status = Status.FAILED_PRECONDITION
    cause = "This router issues no certificates"
    remedy = "Start 'torpor serve' with --client-ca-key, or ask the platform team for a certificate"


class NotOnRecord(AccessError):
    code = "TPR-1153"
    status = Status.UNAUTHENTICATED
    cause = "The client certificate has no record, or what it was got with is gone"
    remedy = "Get a new one: 'satellite certificate', or 'torpor ca issue ORG'"


class AuthorityExists(AccessError):
    code = "TPR-1154"
    status = Status.ALREADY_EXISTS
    cause = "There is a CA already"
    remedy = "Use it, or give other places: --client-ca and --client-ca-key"


class UnusableAuthority(AccessError):
    code = "TPR-1155"
    status = Status.FAILED_PRECONDITION
    cause = "The CA for client certificates cannot be used"
    remedy = "Check --client-ca and --client-ca-key; 'torpor ca init' makes a new pair"
