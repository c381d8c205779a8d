"""A worker that is a Bazel remote cache: BuildGrid, in this satellite's memory.

    python -m torpor_provisioner.local.buildgrid BGD {socket} {data}

(or `BGD {host} {port} {data}`) is the command for TORPOR_LOCAL_WORKER_CACHE, say; BGD is the
program that `make tools` installs. This only writes its configuration and becomes it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

CONFIGURATION = """
server:
  - !channel
    address: {address}
    insecure-mode: true
authorization:
  method: none
storages:
  - !lru-storage &memory
    size: 64M
caches:
  - !lru-action-cache &actions
    storage: *memory
    max-cached-refs: 256
    allow-updates: true
instances:
  - name: ''
    services:
      - !cas
        storage: *memory
      - !bytestream
        storage: *memory
      - !action-cache
        cache: *actions
thread-pool-size: 20
"""


def main(bgd: str, *where: str) -> None:
    *listen, data = where
    address = f"unix:{quote(listen[0])}" if len(listen) == 1 else ":".join(listen)
    file = Path(data) / "buildgrid.yml"
    file.write_text(CONFIGURATION.format(address=json.dumps(address)))
    os.execv(bgd, [bgd, "server", "start", str(file)])  # noqa: S606 - the operator's own program


if __name__ == "__main__":
    main(*sys.argv[1:])
