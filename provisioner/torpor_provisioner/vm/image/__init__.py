"""What machines of `vm` boot from: made here, kept in a folder each, found by their names.

    IMAGES/NAME/image.json   what is said of it, below
    IMAGES/NAME/vmlinuz      its kernel, started by the hypervisor itself: there is no boot loader
    IMAGES/NAME/initrd
    IMAGES/NAME/disk         its root file system; machines write to a layer of their own above it
    IMAGES/NAME/cache        the second disk as it is at first
    IMAGES/NAME/golden/...   machines that have booted and have no identity yet (see `golden`)

An image is never changed: a new one has another name, and lies beside it as long as machines use
it.
"""

from torpor_provisioner.vm.image.folder import Image, find, names
from torpor_provisioner.vm.image.small import make_small
from torpor_provisioner.vm.image.workers import BuildKit, Sample, Worker

__all__ = ["BuildKit", "Image", "Sample", "Worker", "find", "make_small", "names"]
