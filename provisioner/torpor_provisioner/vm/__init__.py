"""The `vm` provisioner: satellites as virtual machines of this host, memory and disk kept asleep.

Nothing needs a daemon: what is true stands in files below the data folder, so any process may
carry on where another was killed.

    images/...                  what machines boot from (see `image`)
    machines/REF/machine.json   the spec, the ports, and what it was last asked to be
    machines/REF/memory         its RAM, sparse; kept while it is awake or hibernated
    machines/REF/state          all else of a machine that hibernates: the mark that it does
    machines/REF/memory.zst     the same, compressed, of one that hibernates for long
    machines/REF/disk, cache    layers over the image's
    machines/REF/power          locked by its hypervisor, for as long as that runs
    machines/REF/lock           held by the process that changes any of this
    machines/REF/qmp, agent.*   the ways to its hypervisor and to the agent in it
    queue.json                  which wakes wait for room on the host
    calls.jsonl                 one line for each call that had an effect
"""

from torpor_provisioner.vm.provisioner import VmProvisioner
from torpor_provisioner.vm.settings import VmSettings

__all__ = ["VmProvisioner", "VmSettings"]
