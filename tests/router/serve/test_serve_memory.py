"""What a router no longer needs it does not keep."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from torpor_router.serve.memory import trimmer

# Every other block of 64 KiB is freed, so that none can go but by a trim
_FREED = """
import asyncio
from torpor_router.serve.memory import give_back_for_ever

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

async def main():
    blocks = [bytearray(64 * 1024) for _ in range(1_000)]
    del blocks[::2]
    before = resident()
    giving = asyncio.create_task(give_back_for_ever(0.01))
    while before - resident() < 16 * 1024 * 1024:
        await asyncio.sleep(0.01)
    giving.cancel()
    print("given back beside", len(blocks))

asyncio.run(main())
"""


@pytest.mark.skipif(trimmer() is None, reason="the C library gives nothing back")
async def test_what_is_free_between_what_is_used_is_given_back() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _FREED, stdout=PIPE)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 60.0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert said == b"given back beside 500\n"
