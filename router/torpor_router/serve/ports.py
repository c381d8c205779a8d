"""Whether an address can be listened on, and what is told where it cannot."""

from __future__ import annotations

import errno

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Status, TorporError
from torpor_router.door import bound
from torpor_router.names import written_address
from torpor_router.serve.config import BadConfiguration


class PortTaken(TorporError):
    """To share a port by accident would give half of the connections to somebody else."""

    code = "TPR-5104"
    status = Status.FAILED_PRECONDITION
    cause = "Another process listens on the router's port"
    remedy = (
        "End it, or choose another --listen; routers that are to share a port all need --share-port"
    )


def cannot_bind(host: str, port: int) -> OSError | None:
    """Why a socket that shares with nobody could not listen there; None if it could."""
    try:
        bound(host, port).close()
    except OSError as error:
        return error
    return None


def cannot_listen(listen: Address, error: OSError) -> TorporError:
    """What a router that was to listen there ends with."""
    where = written_address(listen)
    if error.errno == errno.EADDRINUSE:
        return PortTaken(where)
    return BadConfiguration(f"cannot listen on {where}: {error.strerror}")
