"""A second host: a network namespace, and a link to it that can be cut."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="a second host is a network namespace, which takes root and iproute2",
)


@dataclass
class Host:
    """`here` is this host's address on the link to it."""

    name: str
    here: str

    async def runs(self, *command: str) -> Process:
        return await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", self.name, *command, stdout=PIPE, stdin=PIPE
        )

    def cut(self) -> None:
        """Nothing passes any more, and neither side is told."""
        _ip("link", "set", self.name, "down")


@asynccontextmanager
async def second_host() -> AsyncIterator[Host]:
    name = f"tpr{secrets.token_hex(4)}"
    net = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", "out", "netns", name)
        _ip("address", "add", f"{net}.1/24", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "address", "add", f"{net}.2/24", "dev", "out")
        _ip("-n", name, "link", "set", "dev", "out", "up")
        yield Host(name, f"{net}.1")
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
