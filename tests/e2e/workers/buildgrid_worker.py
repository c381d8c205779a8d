"""A worker command: BuildGrid as a remote cache, in this place's memory.

    python buildgrid_worker.py BGD HOST PORT DATA

Run with any Python: it only writes the configuration and becomes `bgd`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONFIGURATION = """
server:
  - !channel
    address: {host}:{port}
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

bgd, host, port, data = sys.argv[1:]
file = Path(data) / "buildgrid.yml"
file.write_text(CONFIGURATION.format(host=host, port=port))
os.execv(bgd, [bgd, "server", "start", str(file)])
