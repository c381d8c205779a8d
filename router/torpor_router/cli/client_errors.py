"""What keeps a command from reaching its router (family 14xx)."""

from __future__ import annotations

from torpor_provisioner.errors import Status
from torpor_router.errors import RouterError


class NoToken(RouterError):
    code = "TPR-1401"
    status = Status.UNAUTHENTICATED
    cause = "No token was given"
    remedy = (
        "Run 'satellite login', set TORPOR_TOKEN, or give --token-file;"
        " 'torpor token create ORG NAME' makes one"
    )


class BadFile(RouterError):
    code = "TPR-1402"
    status = Status.INVALID_ARGUMENT
    cause = "A file that the command was given cannot be used"
    remedy = "Correct its path or its content"


class RouterUnreachable(RouterError):
    code = "TPR-1403"
    status = Status.UNAVAILABLE
    cause = "No router answers"
    remedy = "Check --address or TORPOR_ADDRESS, and that 'torpor serve' runs there"


class HandshakeFailed(RouterError):
    code = "TPR-1404"
    status = Status.UNAVAILABLE
    cause = "The router and this command could not agree on TLS"
    remedy = (
        "Use the name in the router's certificate (--address) and its CA (--ca);"
        " --plaintext if TLS ends in front of the router"
    )


class NotARouter(RouterError):
    code = "TPR-1405"
    status = Status.UNIMPLEMENTED
    cause = "Whatever answers at the address does not know this command"
    remedy = "Check --address or TORPOR_ADDRESS; the routers may be older than this command"


class NotConfirmed(RouterError):
    code = "TPR-1147"
    status = Status.FAILED_PRECONDITION
    cause = "The name was not confirmed; nothing was changed"
    remedy = "Run the command again and type the name that it asks for, or give --yes"


class NotReached(RouterError):
    code = "TPR-1148"
    status = Status.DEADLINE_EXCEEDED
    cause = "The satellite did not come into that state in time"
    remedy = "Run 'satellite why NAME' for what it waits for, or give a longer --timeout"
