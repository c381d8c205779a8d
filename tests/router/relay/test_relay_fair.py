"""How much of somebody else's a small frame waits behind: counted in octets, on real sockets.

The loop is stopped until a bulk transfer has filled the kernel's buffers and a small frame has come
too. Then both are ready at once, as at the worst moment of a busy router.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from contextlib import suppress

import pytest
from doorkit.frames import GREETING, fields

from torpor_provisioner.contract import Address
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import Kind
from torpor_router.relay.reading import FAIR_OCTETS

ROUNDS = 10
READY = FAIR_OCTETS * 3 // 2  # octets of bulk that could go first
WIDE = wire.settings([(4, wire.BIGGEST_WINDOW)])
WIDER = wire.window_update(0, wire.BIGGEST_WINDOW - wire.DEFAULT_WINDOW)
BULK = wire.frame(Kind.DATA, 0, 1, bytes(16_384)) * 2
SMALL = wire.frame(Kind.DATA, 0, 1, b"\0\0\0\0\1x")
RESPONSE = encode(((b":status", b"200"), (b"content-type", b"application/grpc")))


class Peer:
    """A far end of the door's, in threads of its own: it needs no turn of the loop."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.given = 0  # octets of bulk that the kernel has taken
        self.came = b""  # what it began with
        threading.Thread(target=self._swallow, daemon=True).start()

    def _swallow(self) -> None:
        with suppress(OSError):
            while octets := self.sock.recv(1 << 20):
                if len(self.came) < 4_096:
                    self.came += octets

    def pump(self) -> None:
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        with suppress(OSError):
            while True:
                self.sock.sendall(BULK)
                self.given += len(BULK)

    def wait_for(self, octets: int) -> None:
        """Until the kernel has so many. The loop is stopped on purpose: they stay there."""
        patience = time.monotonic() + 60
        while self.given < octets:
            assert time.monotonic() < patience, "the kernel keeps less than that"
            time.sleep(0.001)


@pytest.fixture
async def streams(house_with, until):
    """Open stream 1 on a connection of its own: that connection, its client and its worker."""
    house = await house_with()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    house.gate.add("acme/one", Address(*listener.getsockname()))
    open_ = [listener]

    async def begin():
        before = set(house.door._connections)
        client = socket.create_connection(house.address)
        request = wire.headers(1, encode(fields()), end_stream=False)
        client.sendall(GREETING.replace(wire.settings(()), WIDE) + WIDER + request)
        worker, _ = await asyncio.to_thread(listener.accept)
        open_.extend((client, worker))
        ends = Peer(client), Peer(worker)
        worker.sendall(WIDE + wire.SETTINGS_ACK + WIDER)
        await until(lambda: b"/t.T/Both" in ends[1].came)
        worker.sendall(wire.headers(1, RESPONSE, end_stream=False))
        await until(lambda: b"application/grpc" in ends[0].came)
        [made] = set(house.door._connections) - before
        return made, *ends

    yield begin
    for each in open_:
        each.close()


@pytest.mark.parametrize("side", ["client", "worker"])
async def test_a_small_frame_waits_behind_a_mebibyte_at_most(streams, until, side):
    pulling, _, bulk = await streams()
    small, *ends = await streams()
    near = small if side == "client" else small._worker
    reading = small._reading if side == "client" else small._worker.reading
    far = ends[0] if side == "client" else ends[1]
    read, passed = reading._read, []

    def counted(data, time_):
        passed.append(pulling._worker.leg.data_octets)
        return read(data, time_)

    reading._read = counted
    bulk.pump()
    waited = []
    for round_ in range(1, ROUNDS + 1):
        before = pulling._worker.leg.data_octets
        bulk.wait_for(before + READY)
        far.sock.sendall(SMALL)
        assert select.select([near.transport.get_extra_info("socket")], [], [], 60)[0]
        await until(lambda round_=round_: len(passed) == round_)
        waited.append(passed[-1] - before)
    assert max(waited) <= FAIR_OCTETS
    assert any(waited)
