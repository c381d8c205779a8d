"""Several processes on one port, and a node that leaves while a newer one has come."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import suppress

import grpc
import pytest
from clientkit.untyped import untyped
from e2ekit.deployment import Deployment, Node
from waiting import LONG, until

RESUME_DELAY = 2.0  # seconds; long enough to leave while a wake is under way
SERVICE = "/torpor.test.Shapes/"
CHANNELS = 16  # the kernel would have to put them all on one of two processes: 1 in 32,768
_LISTENS = re.compile(r"\(pid (\d+)\) listens")


def listening(node: Node) -> list[int]:
    """The processes that have said so, the last one last."""
    return [int(pid) for pid in _LISTENS.findall(node.log.read_text())]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Stream:
    """An open stream, on a connection of its own."""

    def __init__(self, node: Node, metadata) -> None:
        self.channel = node.channel()
        self._call = untyped(self.channel).stream_stream(SERVICE + "Both")(
            metadata=metadata, timeout=LONG
        )

    async def answers(self) -> bool:
        """Whether it still goes both ways; it may only have ended as what can be tried again."""
        if not self._call.done():
            with suppress(grpc.aio.AioRpcError):
                await self._call.write(b"ab")
                return bool(await self._call.read() == b"ba")
        return await self._call.code() is not grpc.StatusCode.UNAVAILABLE

    async def end(self) -> grpc.StatusCode:
        await self._call.done_writing()
        code = await self._call.code()
        await self.channel.close()
        return code

    async def told(self) -> str:
        assert await self._call.code() is grpc.StatusCode.UNAVAILABLE
        return await self._call.details()


@pytest.fixture
async def deployment(torpor, shapes) -> Deployment:
    return await torpor(nodes=0, LOCAL_WORKER=shapes, LOCAL_RESUME_DELAY=RESUME_DELAY)


async def test_two_workers_share_a_port_and_one_dies(deployment: Deployment) -> None:
    node = await deployment.node("--processes", "2")
    await until(lambda: len(listening(node)) == 2)
    first, second = listening(node)
    satellite = await deployment.satellite("acme/one")
    streams = [Stream(node, satellite.metadata) for _ in range(CHANNELS)]
    assert all(await asyncio.gather(*(each.answers() for each in streams)))
    os.kill(first, signal.SIGKILL)
    await until(lambda: len(listening(node)) == 3)  # the supervisor has started another
    left = await asyncio.gather(*(each.answers() for each in streams))
    assert 0 < sum(left) < CHANNELS, "the connections of the other process must go on"
    again = Stream(node, satellite.metadata)
    assert await again.answers()
    for stream, alive in zip([*streams, again], [*left, True], strict=True):
        if alive:
            assert await stream.end() is grpc.StatusCode.OK
        else:
            await stream.channel.close()
    assert deployment.wakes(satellite) == 1
    await node.stop()
    assert node.process.returncode == 0
    assert all(gone(pid) for pid in (first, second, listening(node)[-1]))


async def test_a_newer_version_beside_one_that_drains(deployment: Deployment) -> None:
    """Open streams end on the old one, held calls are answered by the new one, none is lost."""
    old = await deployment.node("--drain", str(LONG), "--share-port")
    awake = await deployment.satellite("acme/awake")
    asleep = await deployment.satellite("acme/asleep")
    stream = Stream(old, awake.metadata)
    assert await stream.answers()
    async with old.channel() as channel:
        held = untyped(channel).unary_unary(SERVICE + "Unary")(
            b"held", metadata=asleep.metadata, timeout=LONG
        )
        await deployment.becomes(asleep, "waking")
        new = await deployment.node("--share-port", at=old.address)
        await until(lambda: listening(new))
        old.process.terminate()
        assert await held == b"held"
    assert deployment.wakes(asleep) == 1
    assert await stream.answers()
    assert old.process.returncode is None
    assert await stream.end() is grpc.StatusCode.OK
    assert await asyncio.wait_for(old.process.wait(), LONG) == 0
    another = Stream(new, awake.metadata)
    assert await another.answers()
    assert await another.end() is grpc.StatusCode.OK


async def test_a_stream_that_does_not_end_is_told_why(deployment: Deployment) -> None:
    node = await deployment.node("--drain", "0.2")
    satellite = await deployment.satellite("acme/one")
    stream = Stream(node, satellite.metadata)
    assert await stream.answers()
    node.process.terminate()
    assert (await stream.told()).startswith("TPR-5001")
    await stream.channel.close()
    assert await asyncio.wait_for(node.process.wait(), LONG) == 0


async def test_workers_drain_when_their_supervisor_is_killed(deployment: Deployment) -> None:
    node = await deployment.node("--processes", "2", "--drain", str(LONG))
    await until(lambda: len(listening(node)) == 2)
    workers = listening(node)
    satellite = await deployment.satellite("acme/one")
    stream = Stream(node, satellite.metadata)
    assert await stream.answers()
    await node.kill()
    await until(lambda: any(gone(pid) for pid in workers))  # the one without a stream
    assert await stream.answers()
    assert await stream.end() is grpc.StatusCode.OK
    await until(lambda: all(gone(pid) for pid in workers))
