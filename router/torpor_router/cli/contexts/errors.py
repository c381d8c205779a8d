"""What is wrong with the contexts of a user (TPR-1160 to 1166)."""

from __future__ import annotations

from torpor_provisioner.errors import Status
from torpor_router.errors import RouterError


class ContextsUnreadable(RouterError):
    code = "TPR-1160"
    status = Status.INVALID_ARGUMENT
    cause = "The file of contexts cannot be read"
    remedy = "Correct it, or move it away: 'satellite login' makes a new one"


class ContextsUnsafe(RouterError):
    code = "TPR-1161"
    status = Status.FAILED_PRECONDITION
    cause = "The file of contexts holds tokens, and is not yours alone"
    remedy = (
        "If others may have read it, revoke its tokens; then 'chown' it to yourself, 'chmod 600' it"
    )


class NoSuchContext(RouterError):
    code = "TPR-1162"
    status = Status.NOT_FOUND
    cause = "There is no context of this name"
    remedy = "'satellite context ls' lists them, 'satellite login --context NAME' makes one"


class NoHome(RouterError):
    code = "TPR-1163"
    status = Status.FAILED_PRECONDITION
    cause = "There is no folder to keep contexts in"
    remedy = "Set HOME or XDG_CONFIG_HOME; or set TORPOR_ADDRESS and TORPOR_TOKEN instead"


class NoSatelliteSelected(RouterError):
    code = "TPR-1164"
    status = Status.INVALID_ARGUMENT
    cause = "No satellite is named, and none is selected"
    remedy = "Give its NAME, or set TORPOR_SATELLITE, or run 'satellite select NAME'"


class ContextsNotWritten(RouterError):
    code = "TPR-1165"
    status = Status.FAILED_PRECONDITION
    cause = "The file of contexts cannot be written"
    remedy = "Make room, or the folder writable; nothing was changed"


class NoContext(RouterError):
    code = "TPR-1166"
    status = Status.FAILED_PRECONDITION
    cause = "The router in use is not one of a context"
    remedy = "Run 'satellite login' for it; or set TORPOR_SATELLITE instead of selecting"
