"""What a process of ours forks does nothing of its own until it is another program."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FORK = """
import asyncio, os
import grpc
import torpor_router

async def main():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        if not (forked := os.fork()):
            os._exit(len(os.listdir("/proc/self/task")))
        _, status = os.waitpid(forked, 0)
    await server.stop(None)
    print(os.waitstatus_to_exitcode(status))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads by /proc")
def test_a_forked_process_has_no_thread_of_grpcs() -> None:
    """One would read what has come for its parent."""
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
