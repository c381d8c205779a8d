"""The `local` provisioner: satellites as processes of this machine.

For trying Torpor, for developing it, and for a single build server with many tenants' caches.
Each satellite is one worker command and whatever descends from it; hibernating freezes it with
its memory, stopping ends it and keeps its disk. Nothing needs a daemon: what is true stands in
files below the data folder, so any process may carry on where another was killed.

    machines/REF/machine.json   the spec, the port, and what it was last asked to be
    machines/REF/address.json   where the worker that was last started listens
    machines/REF/process.json   that worker's pid and start time
    machines/REF/keeper.json    the same of its keeper, the parent that stays beside it
    machines/REF/cgroup         the path of its cgroup, where it has one
    machines/REF/exit.json      how it ended
    machines/REF/run            the folder of its socket
    machines/REF/log            what the worker printed
    machines/REF/data           the worker's own folder, its {data}
    machines/REF/lock           held by the process that changes any of this
    calls.jsonl                 one line for each call that had an effect
"""

from torpor_provisioner.calls import Call, read_calls
from torpor_provisioner.local.provisioner import LocalProvisioner
from torpor_provisioner.local.settings import LocalSettings

__all__ = ["Call", "LocalProvisioner", "LocalSettings", "read_calls"]
