"""What only a host of virtual machines can refuse: each a case of the contract's own classes."""

from __future__ import annotations

from torpor_provisioner.errors import Capacity, Invalid, NotInstalled, NotReady, Quota, Status


class NoHypervisor(NotInstalled):
    """QEMU is not here, or it cannot run."""

    code = "TPR-2214"
    cause = "The hypervisor that runs satellites cannot be used on the router's machine"
    remedy = "On Debian or Ubuntu: apt-get install qemu-system-x86 qemu-utils zstd; see docs/vm.md"


class HostFull(Capacity):
    """The machines that are awake take all that the host may give."""

    code = "TPR-2216"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The host has no memory or processors left for another awake satellite"
    remedy = "Nothing to do: it is next in turn as soon as another one sleeps"


class TooManyMachines(Quota):
    """Each is disks on the router's machine, asleep or awake."""

    code = "TPR-2217"
    cause = "The org has as many virtual machines on this host as it may"
    remedy = (
        "Remove one that is not needed, or ask the platform team to raise TORPOR_VM_MAX_SATELLITES"
    )


class NoImage(Invalid):
    """There is nothing to boot from."""

    code = "TPR-2218"
    status = Status.FAILED_PRECONDITION
    cause = "There is no such image for virtual machines on this host"
    remedy = "Make one with 'torpor image build', or correct the satellite's image"


class ImageNotMade(NotInstalled):
    """The image builder lacks something."""

    code = "TPR-2219"
    cause = "The image for virtual machines cannot be made on this machine"
    remedy = "Install what is named, or make the image on a Debian machine; see docs/vm.md"


class DiskFull(Capacity):
    """Neither a machine's memory nor a new machine finds room."""

    code = "TPR-2220"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The disk of the router's machine has no room for the satellite's memory or disks"
    remedy = "Make room below the router's data folder; the satellite is as it was"


class HypervisorFailed(NotReady):
    """It refused a command, or ended in the middle of it."""

    code = "TPR-2221"
    cause = "The hypervisor could not do what it was asked"
    remedy = "Nothing to do: Torpor tries again; see the machine's qemu.log if it goes on"


class HypervisorRefused(Invalid):
    """It ended by itself as soon as it was started; started again, it would do the same."""

    code = "TPR-2222"
    status = Status.FAILED_PRECONDITION
    cause = "The hypervisor ended as soon as it was started"
    remedy = "Mend what its words complain of, and wake the satellite again"


class StateRefused(HypervisorFailed):
    """A saved state that this hypervisor does not take. The machine starts without its memory."""

    code = "TPR-2223"
    cause = "The satellite's memory does not fit the hypervisor any more"
    remedy = "Nothing to do: the satellite starts with its disk, as after a stop"


class NoFence(NotInstalled):
    """What keeps machines from the host cannot be set; none is started without it."""

    code = "TPR-2224"
    cause = "The rules that keep virtual machines from the host's own networks cannot be set"
    remedy = "apt-get install nftables, and run the router as root; or leave TORPOR_VM_REACH empty"
