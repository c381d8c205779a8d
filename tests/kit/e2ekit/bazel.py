"""The real Bazel client, contained: its own folders, no configuration of this machine, no fetch."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import PIPE, STDOUT
from dataclasses import dataclass
from pathlib import Path

ACTIONS = 30
BUILD = f"""
[genrule(
    name = "part%d" % number,
    outs = ["part%d.txt" % number],
    cmd = "echo built part %d > $@" % number,
) for number in range({ACTIONS})]
"""


@dataclass(frozen=True)
class Result:
    code: int
    told: str

    @property
    def hits(self) -> int:
        """How many actions came out of the remote cache."""
        found = re.search(r"(\d+) remote cache hit", self.told)
        return int(found[1]) if found else 0

    @property
    def ran(self) -> int:
        """How many actions were run here."""
        return sum(int(each) for each in re.findall(r"(\d+) (?:\S*sandbox|local)\b", self.told))


class Bazel:
    """A workspace of 30 actions that need no toolchain."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._workspace = folder / "workspace"
        self._root = folder / "bazel"
        self._workspace.mkdir(parents=True)
        (self._workspace / "WORKSPACE").touch()
        (self._workspace / "BUILD").write_text(BUILD)

    async def build(self, *, cache: str, headers: dict[str, str]) -> Result:
        told = [f"--remote_header={name}={value}" for name, value in headers.items()]
        return await self._run(
            *("build", "--color=no", "--curses=no", "--noshow_progress", "--remote_timeout=100"),
            *("--remote_local_fallback=false", f"--remote_cache={cache}", *told, "//..."),
        )

    async def forget(self) -> Result:
        """Everything but the remote cache."""
        return await self._run("clean", "--expunge")

    async def shutdown(self) -> None:
        await self._run("shutdown")

    async def _run(self, *arguments: str) -> Result:
        process = await asyncio.create_subprocess_exec(
            self._binary,
            f"--output_user_root={self._root}",
            *("--max_idle_secs=60", "--nohome_rc", "--nosystem_rc", "--noworkspace_rc"),
            *("--host_jvm_args=-Xmx512m", *arguments),
            cwd=self._workspace,
            stdout=PIPE,
            stderr=STDOUT,
        )
        told, _ = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, told.decode())
