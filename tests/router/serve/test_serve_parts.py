"""What a node is made of, where that cannot be had; and workers that cannot start."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

WITHIN = 60.0  # seconds


async def served(url: str, data: Path, *options: str, **environment: str) -> tuple[int | None, str]:
    """A router that does not start: its exit code, and what it said."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TORPOR_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torpor_router.cli.torpor", "serve"),
        *("--listen", "127.0.0.1:0", "--metrics", "off", "--data", str(data), *options),
        env={**kept, "TORPOR_DATABASE_URL": url, **environment},
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), WITHIN)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, told.decode()


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        (["--provisioner", "nimbus"], {}, "there is no provisioner 'nimbus'"),
        (["--provisioner", "ec2"], {}, "TORPOR_EC2_REGION is missing"),
        ([], {"TORPOR_LOCAL_PORTS": "many"}, "TORPOR_LOCAL_PORTS is 'many'"),
    ],
)
async def test_a_provisioner_that_cannot_be_had_is_the_operators_to_correct(
    database_url: str, tmp_path: Path, options: list[str], environment: dict[str, str], says: str
) -> None:
    code, told = await served(database_url, tmp_path, *options, **environment)
    assert code == 2, told
    assert told.startswith("TPR-5101 "), told
    assert says in told


async def test_workers_that_cannot_start_end_the_router(database_url: str, tmp_path: Path) -> None:
    options = ("--provisioner", "nimbus", "--workers", "2")
    code, told = await served(database_url, tmp_path, *options)
    assert code == 2, told
    assert "there is no provisioner 'nimbus'" in told
    assert told.splitlines()[-2].startswith("TPR-5101 "), told
