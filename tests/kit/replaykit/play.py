"""Plays a recording through a real door: one player is its client, one its worker.

Both go through the recording in its order. What is theirs they say as soon as everything that the
other said before it has come; what comes is compared with what was said, field by field and octet
by octet. So a door that keeps back, reorders, changes or repeats anything stops the play, and
`differences` tells of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from replaykit.peer import Came, Peer
from replaykit.recording import CLIENT, SPOKEN, WORKER, Event, Fields, Recording

from torpor_provisioner.contract import Address

PLENTY = 1 << 20  # octets of window
CORRECTED = frozenset({b"grpc-timeout"})  # by the time for which the door has held the request
ADDED = b"x-torpor-"  # how these begin, which the door adds to the answer of a request that it held
Call = tuple[int, int]  # connection and stream in the recording


class Player:
    """`by` says whose part it plays, `window` is what it lets a stream send unread, in octets."""

    def __init__(self, recording: Recording, by: str, window: int) -> None:
        self.differences: list[str] = []
        self.added: list[Fields] = []
        self._recording = recording
        self.by = by
        self._window = window
        self._at = 0  # the next event
        self._awaited: dict[Call, deque[tuple[int, Event]]] = {}  # what the other has yet to say
        for index, each in enumerate(recording.events):
            if each.by != by and each.kind in SPOKEN:
                call = (each.connection, each.stream)
                self._awaited.setdefault(call, deque()).append((index, each))
        self._news = asyncio.Event()
        self._calls: dict[tuple[Peer, int], Call] = {}
        self._streams: dict[Call, tuple[Peer, int]] = {}

    async def play(self, before: int | None = None) -> None:
        """Go on with the recording until its event `before`, or its end: until everything was said
        till then, and has come."""
        end = len(self._recording.events) if before is None else before
        for index in range(self._at, end):
            event = self._recording.events[index]
            if event.by == self.by:
                await self._heard_all(index)
                await self._say(event)
            self._at = index + 1
        self._at = end
        await self._heard_all(end)

    def __repr__(self) -> str:
        awaited = min((lines[0] for lines in self._awaited.values() if lines), default=None)
        return f"<{self.by} at {self._at}, awaits {awaited}; {self.differences[:1]}>"

    async def _heard_all(self, before: int) -> None:
        while any(lines and lines[0][0] < before for lines in self._awaited.values()):
            assert not self.differences, self.differences
            self._news.clear()
            await self._news.wait()

    async def _say(self, event: Event) -> None:
        raise NotImplementedError

    async def _say_on(self, peer: Peer, stream: int, event: Event, fields: Fields) -> None:
        match event.kind:
            case "headers":
                peer.headers(stream, fields)
            case "trailers":
                peer.headers(stream, fields, ends=True)
            case "message":
                await peer.message(stream, event.octets)
            case "end":
                peer.end(stream)
            case "reset":
                peer.reset(stream, event.code)

    def _call(self, peer: Peer, came: Came) -> Call | None:
        return self._calls.get((peer, came.stream))

    def _came(self, peer: Peer, came: Came) -> None:
        call = self._call(peer, came)
        if call is None or not self._awaited.get(call):
            self.differences.append(f"{self.by} was told what nobody said: {came}")
            self._news.set()
            return
        _, said = self._awaited[call].popleft()
        fields, added = _parted(came.fields)
        if added:
            self.added.append(added)
        came = Came(came.stream, came.kind, fields, came.octets, came.code)
        if not _same(said, came):
            self.differences.append(f"{said} came to {self.by} as {came}; it was {said.fields}")
        self._news.set()


class ClientPlayer(Player):
    """Adds `metadata` to each request: which satellite it is for, and who asks."""

    def __init__(
        self, recording: Recording, address: Address, metadata: Fields, *, window: int = PLENTY
    ) -> None:
        super().__init__(recording, CLIENT, window)
        self.peers: dict[int, Peer] = {}
        self._address = address
        self._metadata = metadata

    async def _say(self, event: Event) -> None:
        if event.kind == "open":
            connection = await asyncio.open_connection(*self._address)
            self.peers[event.connection] = Peer(
                *connection, self._came, client=True, window=self._window
            )
        elif event.kind == "ping":
            self.peers[event.connection].ping(event.octets)
        elif event.kind in SPOKEN:
            call = (event.connection, event.stream)
            if event.kind == "headers":
                peer = self.peers[event.connection]
                self._streams[call] = (peer, peer.h2.get_next_available_stream_id())
                self._calls[self._streams[call]] = call
            await self._say_on(*self._streams[call], event, event.fields + self._metadata)

    @property
    def acknowledged(self) -> int:
        """How many of its PINGs."""
        return sum(peer.acknowledged for peer in self.peers.values())

    def vanish(self) -> None:
        """As a client does that is killed."""
        for peer in self.peers.values():
            peer.abort()

    async def aclose(self) -> None:
        await asyncio.gather(*(peer.aclose() for peer in self.peers.values()))


class WorkerPlayer(Player):
    """Takes the door's connections; a request is the first of its method that was not yet made."""

    def __init__(self, recording: Recording, *, window: int = PLENTY) -> None:
        super().__init__(recording, WORKER, window)
        self.peers: list[Peer] = []

    @property
    def open_calls(self) -> list[str]:
        """The methods of calls that were made and are not over."""
        return [
            each.path
            for each in self._recording.calls()
            if (place := self._streams.get((each.connection, each.stream)))
            and not place[0].is_over(place[1])
        ]

    @property
    def acknowledged(self) -> int:
        return sum(peer.acknowledged for peer in self.peers)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(Peer(reader, writer, self._came, client=False, window=self._window))

    def _call(self, peer: Peer, came: Came) -> Call | None:
        if came.kind == "headers":
            path = dict(came.fields).get(b":path", b"").decode()
            for each in self._recording.calls():
                call = (each.connection, each.stream)
                if each.path == path and call not in self._streams:
                    self._streams[call] = (peer, came.stream)
                    self._calls[peer, came.stream] = call
                    break
        return super()._call(peer, came)

    async def _say(self, event: Event) -> None:
        if event.kind in SPOKEN:
            stream = self._streams[event.connection, event.stream]
            await self._say_on(*stream, event, _parted(event.fields)[0])
        elif event.kind == "ping" and event.connection < len(self.peers):
            self.peers[event.connection].ping(event.octets)

    async def aclose(self) -> None:
        await asyncio.gather(*(peer.aclose() for peer in self.peers))


@asynccontextmanager
async def serving(worker: WorkerPlayer) -> AsyncIterator[Address]:
    """The address of a worker that plays its part."""
    server = await asyncio.start_server(worker.accept, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await worker.aclose()


def _parted(fields: Fields) -> tuple[Fields, Fields]:
    """What the other side said, and what the door has added."""
    added = tuple(pair for pair in fields if pair[0].startswith(ADDED))
    return tuple(pair for pair in fields if pair not in added), added


def _same(said: Event, came: Came) -> bool:
    return (said.kind, said.octets, said.code, *_comparable(_parted(said.fields)[0])) == (
        came.kind,
        came.octets,
        came.code,
        *_comparable(came.fields),
    )


def _comparable(fields: Fields) -> tuple[Fields, list[bytes]]:
    """In their order, but for what the door corrects: that may stand elsewhere (RFC 9110, 5.3)."""
    kept = tuple(pair for pair in fields if pair[0] not in CORRECTED)
    return kept, sorted(name for name, _ in fields if name in CORRECTED)
