"""The `local` provisioner: satellites as processes of this machine.

For trying Torpor, for developing it, and for a single build server with many tenants' caches.
Each satellite is a session of processes around one worker command; hibernating freezes it with
its memory, stopping ends it and keeps its disk. Nothing needs a daemon: what is true stands in
files below the data folder, so any process may carry on where another was killed.

    machines/REF/machine.json   the spec, the port, and what it was last asked to be
    machines/REF/process.json   the worker's pid and start time
    machines/REF/log            what the worker printed
    machines/REF/data           the worker's own folder, its {data}
    machines/REF/lock           held by whoever changes any of this
    calls.jsonl                 one line for each call that had an effect
"""

from torpor_provisioner.local.calls import Call, read_calls
from torpor_provisioner.local.provisioner import LocalProvisioner
from torpor_provisioner.local.settings import LocalSettings

__all__ = ["Call", "LocalProvisioner", "LocalSettings", "read_calls"]
