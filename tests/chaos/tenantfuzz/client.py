"""Clients of a tenant: some keep the rules and compare their answers, some break what they can."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from doorkit.frames import split
from relayfuzz.frames import client_frame, damage, headers
from tenantfuzz.canary import Tenant, Watch, huffman, new_nonce

from torpor_provisioner.contract import Address
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import END_STREAM, PREFACE, Kind

PATIENCE = 15.0  # seconds for an answer, and for a whole connection
_NAMES = (b"one", b"two")


@dataclass(frozen=True)
class Doors:
    """Where a tenant may come in. `certified` contexts bring its certificate."""

    plain: Address
    tls: Address
    bare: ssl.SSLContext
    certified: dict[str, ssl.SSLContext]  # by org


@dataclass
class Told:
    """What the clients saw."""

    found: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    nonces: set[bytes] = field(default_factory=set)  # of all calls


class Client:
    """One tenant's; each `run` is a connection."""

    def __init__(self, doors: Doors, own: Tenant, others: list[Tenant], told: Told) -> None:
        self._doors = doors
        self._own = own
        self._others = others
        self._told = told

    async def run(self, rng: random.Random) -> None:
        self._told.counts["connections"] += 1
        with suppress(OSError, TimeoutError, ssl.SSLError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE):
                certified = rng.random() < 0.4
                reader, writer = await self._connect(rng, certified)
                watch = Watch(self._own, self._others)
                try:
                    if rng.random() < 0.4:
                        await self._honest(rng, reader, writer, watch, certified)
                    else:
                        await self._hostile(rng, reader, writer, watch, certified)
                finally:
                    writer.transport.abort()
                    self._told.counts["canaries"] += watch.own
                    for what in watch.found:
                        self._told.found.append(f"{self._own.org}'s client saw {what}")

    async def _connect(
        self, rng: random.Random, certified: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if certified:
            name = rng.choice((None, "one--alpha.door.test", "one--beta.door.test", "x"))
            context = self._doors.certified[self._own.org]
            return await asyncio.open_connection(
                *self._doors.tls, ssl=context, server_hostname=name or ""
            )
        if rng.random() < 0.2:
            return await asyncio.open_connection(*self._doors.tls, ssl=self._doors.bare)
        return await asyncio.open_connection(*self._doors.plain)

    # --- by the rules

    async def _honest(
        self,
        rng: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        watch: Watch,
        certified: bool,
    ) -> None:
        """Several calls at once. An answer with another's nonce was another call's."""
        writer.write(PREFACE + wire.settings([(4, 1 << 20)]) + wire.SETTINGS_ACK)
        satellite = self._own.org.encode() + b"/" + rng.choice(_NAMES)
        nonces = {n: new_nonce() for n in range(1, 2 * rng.randrange(1, 9), 2)}
        self._told.nonces.update(nonces.values())
        for stream, nonce in nonces.items():
            said = self._own.says(nonce)
            block = self._block(rng, satellite, said, token=not certified or rng.random() < 0.5)
            writer.write(wire.headers(stream, block, end_stream=False))
            message = b"\0" + len(said).to_bytes(4, "big") + said
            writer.write(wire.frame(Kind.DATA, END_STREAM, stream, message))
        ended, seen = set[int](), b""
        by_stream = {n: Watch(self._own, self._others) for n in nonces}
        while len(ended) < len(nonces) and (octets := await reader.read(65_536)):
            watch.feed(octets)
            frames, seen = split(seen + octets)
            for each in frames:
                if each.stream in by_stream and each.kind in (Kind.HEADERS, Kind.DATA):
                    by_stream[each.stream].feed(each.payload)
                    if each.flags & END_STREAM:
                        ended.add(each.stream)
                if each.kind == Kind.RST_STREAM:
                    ended.add(each.stream)
        for stream, heard in by_stream.items():
            # (a worker that flips bits may say one that is nobody's)
            if wrong := (heard.nonces & self._told.nonces) - {nonces[stream]}:
                self._told.found.append(f"{self._own.org}: {wrong} on another call's stream")
            self._told.counts["answers"] += nonces[stream] in heard.nonces

    def _block(
        self, rng: random.Random, satellite: bytes, said: bytes, *, token: bool = True
    ) -> bytes:
        pairs = [
            *((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/t.T/Both")),
            *((b":authority", b"localhost"), (b"te", b"trailers")),
            *((b"content-type", b"application/grpc"), (b"satellite", satellite)),
        ]
        if token:
            pairs.append((b"authorization", b"Bearer " + self._own.token.encode()))
        if rng.random() < 0.5:
            return encode((*pairs, (b"x-canary", said)))
        coded = huffman(said)  # of fewer than 127 octets
        return encode(pairs) + b"\x00\x08x-canary" + bytes((0x80 | len(coded),)) + coded

    # --- against them

    async def _hostile(
        self,
        rng: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        watch: Watch,
        certified: bool,
    ) -> None:
        said = self._own.says(new_nonce())
        reading = asyncio.create_task(_watch(reader, watch)) if rng.random() < 0.8 else None
        if reading is None:
            assert isinstance(writer.transport, asyncio.Transport)
            writer.transport.pause_reading()
        window = rng.choice((0, 1, 1_000, 1 << 20))
        greeting = PREFACE + wire.settings([(4, window)] * (rng.random() < 0.8))
        writer.write(
            rng.choice((greeting, greeting, greeting, said, PREFACE[:9], b"GET / HTTP/1.1"))
        )
        writer.write(wire.SETTINGS_ACK * (rng.random() < 0.8))
        harm, opened, spoken = rng.choice((0.0, 0.0, 0.02, 0.3)), list[int](), list[bytes]()
        for _ in range(rng.choice((3, 30, 300))):
            octets = self._frame(rng, opened, said, certified)
            if spoken and rng.random() < 0.05:
                octets = rng.choice(spoken)
            spoken = [*spoken[-20:], octets]
            if rng.random() < harm:
                octets = damage(rng, octets)
            writer.write(octets * (rng.choice((1, 2_000)) if rng.random() < 0.01 else 1))
            self._told.counts["frames"] += 1
            await writer.drain()
            await asyncio.sleep(rng.choice((0.0, 0.0, 0.001, 0.02)))
        if reading is not None:
            await asyncio.wait([reading], timeout=rng.choice((0.01, 0.3, 2.0)))
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _frame(self, rng: random.Random, opened: list[int], said: bytes, certified: bool) -> bytes:
        pick = rng.random()
        if pick < 0.4 or not opened:
            opened.append((opened[-1] if opened else -1) + 2)
            return headers(rng, opened[-1], self._lie(rng, said, certified), end=rng.random() < 0.3)
        known = rng.choice(opened)
        if pick < 0.6:
            return wire.frame(Kind.DATA, rng.choice((0, 0, END_STREAM)), known, said * 9)
        if pick < 0.65:
            return headers(rng, known, encode(((b"x-canary-trailer", said),)), end=True)
        if pick < 0.7:  # shrinks and opens windows under open streams
            return wire.settings([(4, rng.choice((0, 1, 65_535, 1 << 20)))])
        return client_frame(rng, opened)

    def _lie(self, rng: random.Random, said: bytes, certified: bool) -> bytes:
        """A request that names the other tenant's satellites in any way that is known."""
        other = rng.choice(self._others)
        own, theirs = self._own.org.encode(), other.org.encode()
        name = rng.choice(_NAMES)
        satellite = rng.choices((own + b"/" + name, theirs + b"/" + name), (3, 1))[0]
        octets = self._block(rng, satellite, said, token=not certified or rng.random() < 0.7)
        pick = rng.random()
        if pick < 0.6:
            return octets
        extras: list[tuple[bytes, bytes]] = [
            (b"satellite", theirs + b"/" + name),
            (b"satellite", theirs.upper() + b"/" + name),
            (b"satellite_org", theirs),
            (b"satellite_name", name),
            (b"satellite", own + b"/one," + theirs + b"/one"),
            (b"host", name + b"--" + theirs + b".door.test"),
            (b"satellite_token", self._own.token.encode()),
            (b"x-forwarded-client-cert", b"URI=torpor://org/" + theirs),
            (b"x-big", said * rng.randrange(1, 300)),
        ]
        return octets + encode(rng.sample(extras, rng.randrange(1, 4)))


async def _watch(reader: asyncio.StreamReader, watch: Watch) -> None:
    with suppress(OSError):
        while octets := await reader.read(65_536):
            watch.feed(octets)
