"""A satellite's worker that keeps the rules on some connections, and breaks them on others.

``worker.py SOCKET PLAN``: PLAN is a JSON file with the tenants and a folder for findings. Whose
worker it is stands in TORPOR_SATELLITE.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

import hpack
from doorkit.frames import Frame, split
from relayfuzz.frames import damage, headers, worker_frame
from tenantfuzz.canary import Tenant, Watch

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ACK, END_STREAM, ErrorCode, Kind

ANSWER = ((b":status", b"200"), (b"content-type", b"application/grpc"))
NO_NONCE = b"0" * 16
PATIENCE = 20.0  # seconds that a connection which breaks rules lasts


class Worker:
    def __init__(self, own: Tenant, others: list[Tenant], results: Path) -> None:
        self._own = own
        self._others = others
        self._results = results
        self.canaries = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        watch = Watch(self._own, self._others)
        self.connections += 1
        rng = random.Random(os.urandom(8))
        with suppress(OSError, ValueError, hpack.HPACKError, TimeoutError):
            if rng.random() < 0.7:
                await self._honest(reader, writer, watch)
            else:
                async with asyncio.timeout(PATIENCE):
                    await self._hostile(rng, reader, writer, watch)
        writer.transport.abort()
        self.canaries += watch.own
        if watch.found:
            line = json.dumps({"worker": self._own.org, "found": sorted(set(watch.found))})
            with (self._results / f"{self._own.org}-found.jsonl").open("a") as file:
                file.write(line + "\n")

    async def _honest(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watch: Watch
    ) -> None:
        """Say to each request what it said, with this tenant's canary before it."""
        seen, asked = b"", dict[int, bytes]()
        writer.write(wire.settings([(4, 1 << 20)]) + wire.SETTINGS_ACK)
        while octets := await reader.read(65_536):
            watch.feed(octets)
            frames, seen = split((seen + octets).removeprefix(wire.PREFACE))
            for frame in frames:
                if frame.kind == Kind.HEADERS:
                    asked.setdefault(frame.stream, self._nonce(watch, frame))
                if frame.kind in (Kind.HEADERS, Kind.DATA) and frame.flags & END_STREAM:
                    self._answer(writer, frame.stream, asked.pop(frame.stream, NO_NONCE))
                elif frame.kind == Kind.PING and not frame.flags & ACK:
                    writer.write(wire.ping_ack(frame.payload))
                elif frame.kind == Kind.SETTINGS and not frame.flags & ACK:
                    writer.write(wire.SETTINGS_ACK)
                if frame.kind == Kind.DATA and frame.payload:
                    writer.write(wire.window_update(0, len(frame.payload)))
            await writer.drain()

    def _nonce(self, watch: Watch, frame: Frame) -> bytes:
        if not frame.flags & wire.END_HEADERS:
            return NO_NONCE
        watch.look_for_credentials(frame.payload)
        told = dict(hpack.Decoder().decode(frame.payload, raw=True))
        return bytes(told.get(b"x-canary", b"")[-16:]) or NO_NONCE

    def _answer(self, writer: asyncio.StreamWriter, stream: int, nonce: bytes) -> None:
        said = self._own.says(nonce)
        first = encode((*ANSWER, (b"x-canary", said)))
        trailers = encode(((b"grpc-status", b"0"), (b"x-canary-trailer", said)))
        writer.write(
            wire.headers(stream, first, end_stream=False)
            + wire.frame(Kind.DATA, 0, stream, b"\0" + len(said).to_bytes(4, "big") + said)
            + wire.headers(stream, trailers, end_stream=True)
        )

    async def _hostile(
        self,
        rng: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        watch: Watch,
    ) -> None:
        """Anything; about streams that it was sent, and others."""
        said = self._own.says(NO_NONCE)
        opened: list[int] = []
        greeting = wire.settings([(3, rng.choice((0, 1, 5, 100))), (4, rng.choice((0, 9, 99_999)))])
        writer.write(rng.choice((b"", greeting, greeting, greeting, said)))
        writer.write(wire.SETTINGS_ACK * (rng.random() < 0.7))
        harm, pause = rng.choice((0.0, 0.02, 0.3)), rng.choice((0.0, 0.001, 0.05))
        reading = asyncio.create_task(self._note(reader, watch, opened, rng.random() < 0.8))
        spoken: list[bytes] = []
        try:
            for _ in range(rng.choice((5, 50, 500))):
                frame = self._frame(rng, opened, said)
                if spoken and rng.random() < 0.05:
                    frame = rng.choice(spoken)
                spoken = [*spoken[-20:], frame]
                if rng.random() < harm:
                    frame = damage(rng, frame)
                writer.write(frame * (rng.choice((1, 1_000)) if rng.random() < 0.01 else 1))
                await writer.drain()
                await asyncio.sleep(pause)
            if rng.random() < 0.5:
                await asyncio.wait([reading], timeout=rng.choice((0.1, 2.0)))
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _frame(self, rng: random.Random, opened: list[int], said: bytes) -> bytes:
        known = rng.choice(opened) if opened and rng.random() < 0.9 else rng.randrange(1, 40)
        pick = rng.random()
        if pick < 0.2:
            octets = encode((*ANSWER, (b"x-canary", said)))
            return headers(rng, known, octets, end=rng.random() < 0.2)
        if pick < 0.35:
            return wire.frame(Kind.DATA, rng.choice((0, 0, 0, END_STREAM)), known, said * 9)
        if pick < 0.45:
            octets = encode(((b"grpc-status", b"0"), (b"x-canary-trailer", said)))
            return headers(rng, known, octets, end=True)
        if pick < 0.5:
            return wire.goaway(known, ErrorCode.NO_ERROR) + said if rng.random() < 0.1 else b""
        return worker_frame(rng, opened or [known])

    async def _note(
        self, reader: asyncio.StreamReader, watch: Watch, opened: list[int], reads: bool
    ) -> None:
        seen = b""
        while octets := await reader.read(65_536):
            watch.feed(octets)
            frames, seen = split((seen + octets).removeprefix(wire.PREFACE))
            for each in frames:
                if each.kind == Kind.HEADERS:
                    opened.append(each.stream)
                    if each.flags & wire.END_HEADERS:
                        watch.look_for_credentials(each.payload)
            del opened[:-20]
            if not reads and opened:
                return


async def main(socket: str, plan: Path) -> None:
    told = json.loads(plan.read_text())
    tenants = [Tenant(each["org"], each["token"], each["secret"].encode()) for each in told["who"]]
    org, name = os.environ["TORPOR_SATELLITE"].split("/")
    own = next(each for each in tenants if each.org == org)
    results = Path(told["results"])
    worker = Worker(own, [each for each in tenants if each is not own], results)
    await asyncio.start_unix_server(worker.serve, socket)
    while True:
        await asyncio.sleep(0.5)
        counts = {"canaries": worker.canaries, "connections": worker.connections}
        new = results / f"{org}-{name}-{os.getpid()}.new"
        new.write_text(json.dumps(counts))
        new.replace(new.with_suffix(".count"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
