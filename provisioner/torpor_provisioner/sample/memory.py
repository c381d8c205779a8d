"""What the worker remembers: a counter in memory, everything else on disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from torpor_provisioner.sample.v1 import builder_pb2 as pb


class Memory:
    """`counter` is gone when the process is; the cache and the builds done are not."""

    def __init__(self, data: Path) -> None:
        self.cache = data / "cache"
        self.workspaces = data / "workspaces"
        self._done = data / "builds-done"
        self.counter = 0
        self._booted_ns = time.time_ns()
        self.cache.mkdir(parents=True, exist_ok=True)
        self.workspaces.mkdir(parents=True, exist_ok=True)

    def count_started(self) -> int:
        self.counter += 1
        return self.counter

    def count_done(self) -> None:
        new = self._done.with_suffix(".new")
        new.write_text(f"{self.builds_done() + 1}\n")
        new.replace(self._done)

    def builds_done(self) -> int:
        try:
            return int(self._done.read_text())
        except FileNotFoundError:
            return 0

    def cache_entries(self) -> int:
        return sum(len(files) for _, _, files in os.walk(self.cache))

    def info(self) -> pb.InfoReply:
        booted = Timestamp()
        booted.FromNanoseconds(self._booted_ns)
        return pb.InfoReply(
            counter=self.counter,
            builds_done=self.builds_done(),
            cache_entries=self.cache_entries(),
            booted_at=booted,
            pid=os.getpid(),
        )
