"""What only this machine can refuse: each a case of the contract's own classes."""

from __future__ import annotations

from torpor_provisioner.errors import NotReady, Status


class FolderHeld(NotReady):
    """The satellite's processes are gone, and its folder cannot be removed yet."""

    code = "TPR-2211"
    status = Status.UNAVAILABLE
    cause = "The satellite's folder cannot be removed"
    remedy = "Do what is named on the router's machine; Torpor tries again by itself"
