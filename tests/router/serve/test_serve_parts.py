"""What a node is made of, where that cannot be had; and workers that cannot start."""

from __future__ import annotations

import asyncio
import os
import socket
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


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's workers are the user's")
async def test_root_does_not_run_customers_builds_as_root(
    database_url: str, tmp_path: Path
) -> None:
    """Pytest's folders are root's alone, so no other account could run them there."""
    code, told = await served(database_url, tmp_path)
    assert code == 3, told
    assert told.startswith("TPR-2213 "), told
    assert str(tmp_path) in told
    assert "TORPOR_LOCAL_ACCOUNTS=router" in told


async def test_workers_that_cannot_start_end_the_router(database_url: str, tmp_path: Path) -> None:
    options = ("--provisioner", "nimbus", "--processes", "2")
    code, told = await served(database_url, tmp_path, *options)
    assert code == 2, told
    assert "there is no provisioner 'nimbus'" in told
    assert told.splitlines()[-2].startswith("TPR-5101 "), told


@pytest.mark.parametrize("options", [[], ["--processes", "2"]])
async def test_a_port_that_is_taken_is_an_error(tmp_path: Path, options: list[str]) -> None:
    """Also where its holder would share it; nothing else is begun, not even a database."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        code, told = await served("", tmp_path, "--listen", address, *options)
    assert code == 3, told
    assert told.startswith("TPR-5104 "), told
    assert address in told
    assert "--share-port" in told
    assert not list(tmp_path.iterdir())


async def test_an_address_of_another_machine_cannot_be_listened_on(tmp_path: Path) -> None:
    code, told = await served("", tmp_path, "--listen", "192.0.2.1:1", "--plaintext")
    assert code == 2, told
    assert told.startswith("TPR-5101 "), told
    assert "192.0.2.1:1" in told


async def test_a_router_loads_what_verifies_identities_with_the_first_one() -> None:
    """It is a third of the memory and of the time that a router's imports would take."""
    late = ("joserfc", "aiohttp", "cryptography", "jinja2")
    look = f"import sys, torpor_router.serve.node; print([m for m in {late} if m in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", look, stdout=PIPE)
    loaded, _ = await asyncio.wait_for(process.communicate(), WITHIN)
    assert loaded.strip() == b"[]"
