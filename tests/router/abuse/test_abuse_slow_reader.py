"""A slow reader slows its sender: the node keeps next to nothing of what is between them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from doorkit.pump import CHUNK, pumping

MIB = 1 << 20
WAITING = 2 * MIB  # octets that may wait in the door's sockets, for either side
GROWTH = 48 * MIB  # of this whole process: door, worker and client, and their gRPC cores


@dataclass
class Amount:
    octets: int
    pace: float  # octets a second that the slow side takes


SHORT = pytest.param(Amount(64 * MIB, 40 * MIB), id="64 MiB")
LONG = pytest.param(
    Amount(1024 * MIB, 12 * MIB), id="1 GiB", marks=(pytest.mark.slow, pytest.mark.timeout(600))
)


@pytest.fixture(params=[SHORT, LONG])
def amount(request):
    return request.param


@pytest.fixture
async def pump(amount):
    async with pumping(amount.pace) as made:
        yield made


@pytest.fixture
async def between(house_with, pump):
    house = await house_with()
    house.gate.add("acme/one", pump.address)
    return house


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


class Gauge:
    """The most that was ever waiting in the door, and the most that the process ever held."""

    def __init__(self, house) -> None:
        self._house = house
        self.waiting = 0
        self.before = resident()
        self.resident = self.before

    async def watch(self) -> None:
        while True:
            for each in self._house.door._connections:
                ends = (each.transport, each._worker and each._worker.transport)
                octets = sum(end.get_write_buffer_size() for end in ends if end)
                self.waiting = max(self.waiting, octets)
            self.resident = max(self.resident, resident())
            await asyncio.sleep(0.01)

    def check(self, tell) -> None:
        grown = self.resident - self.before
        assert self.waiting < WAITING
        assert grown < GROWTH
        tell("waiting in the door at most", f"{self.waiting / 1024:,.0f} KiB")
        tell("growth of door, worker and client together", f"{grown / MIB:,.1f} MiB")


@pytest.fixture
async def gauge(between):
    made = Gauge(between)
    watching = asyncio.create_task(made.watch())
    yield made
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_down_to_a_slow_client(between, pump, amount, gauge, to_one, measured):
    loop = asyncio.get_running_loop()
    async with between.channel() as channel:
        chunks = amount.octets // len(CHUNK)
        call = channel.unary_stream("/t.T/Down")(b"%d" % chunks, metadata=to_one)
        began, taken, ahead = loop.time(), 0, 0
        async for each in call:
            taken += len(each)
            ahead = max(ahead, pump.sent - taken)
            await asyncio.sleep(taken / amount.pace - (loop.time() - began))
    assert taken == amount.octets
    assert ahead < amount.octets / 2, "the worker was never slowed down"
    gauge.check(measured)


async def test_up_to_a_slow_worker(between, pump, amount, gauge, to_one, measured):
    ahead = 0
    async with between.channel() as channel:
        call = channel.stream_unary("/t.T/Up")(metadata=to_one)
        for sent in range(len(CHUNK), amount.octets + 1, len(CHUNK)):
            await call.write(CHUNK)
            ahead = max(ahead, sent - pump.taken)
        await call.done_writing()
        assert await call == b"%d" % amount.octets
    assert ahead < amount.octets / 2, "the client was never slowed down"
    gauge.check(measured)
