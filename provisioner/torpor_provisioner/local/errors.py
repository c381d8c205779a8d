"""What only this machine can refuse: each a case of the contract's own classes."""

from __future__ import annotations

from torpor_provisioner.errors import Invalid, NotReady, Quota, Status


class WorkerDied(Invalid):
    """The worker ended by itself as soon as it was started; started again, it would do the same."""

    code = "TPR-2210"
    status = Status.FAILED_PRECONDITION
    cause = "The satellite's worker ended as soon as it was started"
    remedy = "Mend what its last lines complain of, or the worker's command, and wake it again"


class FolderHeld(NotReady):
    """The satellite's processes are gone, and its folder cannot be removed yet."""

    code = "TPR-2211"
    status = Status.UNAVAILABLE
    cause = "The satellite's folder cannot be removed"
    remedy = "Do what is named on the router's machine; Torpor tries again by itself"


class TooManySatellites(Quota):
    """Each is processes and a folder on the router's machine."""

    code = "TPR-2212"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The org has as many satellites on the router's machine as it may"
    remedy = (
        "Remove one that is not needed, or ask the platform team to raise"
        " TORPOR_LOCAL_MAX_SATELLITES"
    )


class NoAccount(Invalid):
    """The router is root, and customers' builds are not to be."""

    code = "TPR-2213"
    status = Status.FAILED_PRECONDITION
    cause = "The router is root, and the accounts that local workers run as cannot do so"
    remedy = (
        "Run the router as another user, keep it and its data where all may go, or set"
        " TORPOR_LOCAL_ACCOUNTS=router"
    )
