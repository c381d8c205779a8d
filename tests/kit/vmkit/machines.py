"""Virtual machines as tests have them: small, emulated, copies of one golden snapshot.

The image and the snapshot are made once for every test run of an account, in its cache folder:
their names are checksums of what they are made of.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from torpor_provisioner.contract import MachineState, Observed, Provisioner
from torpor_provisioner.sample import client
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.vm import VmSettings, golden
from torpor_provisioner.vm.image import Image, make_small
from torpor_provisioner.vm.qemu import Qemu
from torpor_provisioner.vm.settings import size

SIZE = "1x160M"
ACCELERATOR = "tcg"  # the same machine everywhere
NEEDED = ("qemu-system-x86_64", "qemu-img", "apt-get", "mkfs.ext4", "setsid")
WITHIN = 100.0  # seconds, for what is done in software on a busy machine

# Tries to connect to each HOST:PORT and prints those that it reached.
TRY = """
for place in "$@"; do
    nc -w 2 "${place%:*}" "${place#*:}" -e /bin/true 2>/dev/null && echo "$place"
done
true
"""


def missing() -> str:
    """What real machines need and this one has not: tests of them are skipped by its name."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return next((name for name in NEEDED if shutil.which(name, path=path) is None), "")


needs_qemu = pytest.mark.skipif(bool(missing()), reason=f"{missing()} is not installed")


def images() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "torpor" / "vm-images"


@functools.cache
def image() -> Image:
    """The tiny image, with the golden snapshot of the size that tests have."""
    made = make_small(images())
    cpus, memory = size(SIZE)
    asyncio.run(golden.make(made, memory, cpus, Qemu(ACCELERATOR)))
    return made


def settings(**given: object) -> VmSettings:
    defaults = {
        "images": images(),
        "image": image().name,
        "size": SIZE,
        "accelerator": ACCELERATOR,
        "stop_grace": 1.0,
    }
    return VmSettings(**{**defaults, **given})  # type: ignore[arg-type]


async def observe(provisioner: Provisioner, ref: str) -> Observed:
    return (await provisioner.observe([ref]))[ref]


async def becomes(provisioner: Provisioner, ref: str, state: MachineState) -> Observed:
    async with asyncio.timeout(WITHIN):
        while (seen := await observe(provisioner, ref)).state is not state:
            await asyncio.sleep(0.02)
    return seen


async def info(seen: Observed) -> pb.InfoReply:
    """What the worker in it says, once it answers."""
    assert seen.address is not None
    target = f"{seen.address.host}:{seen.address.port}"
    async with asyncio.timeout(WITHIN):
        while True:
            async with grpc.aio.insecure_channel(target) as channel:
                try:
                    return await client.info(channel, within=10)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)


async def prints(seen: Observed, *command: str) -> list[str]:
    """What a build in the machine says."""
    await info(seen)
    assert seen.address is not None
    async with grpc.aio.insecure_channel(f"{seen.address.host}:{seen.address.port}") as channel:
        return [
            event.line.text.decode().strip()
            async for event in client.build(channel, None, command, within=60)
            if event.WhichOneof("event") == "line"
        ]


async def reached(seen: Observed, *places: str) -> list[str]:
    """Those that a build in the machine can connect to."""
    return await prints(seen, "sh", "-c", TRY, "sh", *places)


def folder_of(data: Path, ref: str) -> Path:
    return data / "vm" / "machines" / ref


MakeSettings = Callable[..., VmSettings]
