"""`torpor demo` as a person starts it: the story comes true, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

import pytest
from free_ports import free_ports

from torpor_provisioner.contract import Address
from torpor_provisioner.local import LocalProvisioner
from torpor_router.probe import answers

WITHIN = 110.0  # seconds


async def start(folder: Path, port: int, *options: str, **environment: str) -> Process:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TORPOR_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torpor_router.cli.torpor", "demo"),
        *("--data", str(folder), "--port", str(port), *options),
        env={**kept, **environment},
        stdout=PIPE,
        stderr=STDOUT,
    )


async def nothing_is_left(folder: Path, port: int) -> None:
    local = LocalProvisioner(folder / "local")
    assert not await local.owned()
    await local.aclose()
    assert not await answers(Address("127.0.0.1", port), 1.0)
    assert not await answers(Address("127.0.0.1", port + 1), 1.0)


@pytest.mark.parametrize("cloud", ["local", "ec2"])
async def test_the_story_comes_true(tmp_path: Path, cloud: str) -> None:
    port = free_ports(2)
    demo = await start(tmp_path, port, "--once", "--builds", "20", "--provisioner", cloud)
    told, _ = await asyncio.wait_for(demo.communicate(), WITHIN)
    text = told.decode()
    assert demo.returncode == 0, text
    assert "all 20 builds succeeded" in text
    assert "✓ the machine was woken by exactly 1 call" in text
    assert "✗" not in text
    assert ("to wake here, on purpose" if cloud == "local" else "times as fast as AWS's") in text
    if os.geteuid() == 0 and cloud == "local":  # pytest's folders are nobody else's to enter
        assert "builds run as root here: they may not enter" in " ".join(text.split())
    await nothing_is_left(tmp_path, port)


async def test_a_story_that_does_not_come_true_fails(tmp_path: Path) -> None:
    """Nothing can be held for so short a time, so every build at the sleeping satellite fails."""
    port = free_ports(2)
    demo = await start(tmp_path, port, "--once", "--builds", "5", TORPOR_HOLD_BUDGET="0.5")
    told, _ = await asyncio.wait_for(demo.communicate(), WITHIN)
    assert demo.returncode == 1, told.decode()
    # On a busy machine the time is over before the database has answered, which has another code;
    # and a build that comes late finds the satellite awake
    assert re.search(
        r"✗ all 5 builds succeeded: [1-5] failed, the first with UNAVAILABLE: TPR-",
        " ".join(told.decode().split()),
    ), told.decode()
    await nothing_is_left(tmp_path, port)


async def test_the_demo_stays_up_until_interrupted(tmp_path: Path) -> None:
    """In a terminal that knows no signs, with a second demo in its folder meanwhile."""
    port = free_ports(2)
    demo = await start(tmp_path, port, "--builds", "2", PYTHONIOENCODING="ascii")
    assert demo.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(WITHIN):
        async for line in demo.stdout:
            lines.append(line.decode())
            if "routers at" in lines[-1]:
                await a_second_demo_is_refused(tmp_path)
            if "Ctrl-C" in lines[-1]:
                break
    assert any("? all 2 builds succeeded" in line for line in lines), lines
    assert any("export TORPOR_ADDRESS=" in line for line in lines), lines
    assert any("grpcurl -plaintext" in line for line in lines)
    demo.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(demo.communicate(), WITHIN)
    assert demo.returncode == 0, rest.decode()
    await nothing_is_left(tmp_path, port)


async def a_second_demo_is_refused(folder: Path) -> None:
    second = await start(folder, free_ports(2), "--once")
    told, _ = await second.communicate()
    assert "TPR-5402" in told.decode()
    assert second.returncode == 3


async def test_its_routers_share_no_port_with_others(tmp_path: Path) -> None:
    """A router listens with SO_REUSEPORT, so a second one beside it would start."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        demo = await start(tmp_path, port, "--once")
        told, _ = await asyncio.wait_for(demo.communicate(), WITHIN)
    assert demo.returncode == 4
    assert f"TPR-5401 A router of the demo did not start: 127.0.0.1:{port}" in told.decode()
    assert "--port" in told.decode()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    demo = await start(tmp_path / "file" / "demo", free_ports(2), "--once")
    told, _ = await asyncio.wait_for(demo.communicate(), WITHIN)
    assert demo.returncode == 2
    assert told.decode().startswith("TPR-5101")
