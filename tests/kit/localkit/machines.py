"""Machines of the local provisioner as tests find them: by what is observed and by their files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from torpor_provisioner.contract import MachineState, Observed
from torpor_provisioner.local import LocalProvisioner

IDLE = "sleep 100000"  # a worker that does nothing


async def observe(provisioner: LocalProvisioner, ref: str) -> Observed:
    return (await provisioner.observe([ref]))[ref]


async def becomes(provisioner: LocalProvisioner, ref: str, state: MachineState) -> Observed:
    async with asyncio.timeout(60):
        while (seen := await observe(provisioner, ref)).state is not state:
            await asyncio.sleep(0.01)
    return seen


def folder_of(tmp_path: Path, ref: str) -> Path:
    return tmp_path / "local" / "machines" / ref


def pid_of(tmp_path: Path, ref: str) -> int:
    return int(json.loads((folder_of(tmp_path, ref) / "process.json").read_text())["pid"])
