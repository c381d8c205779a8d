"""Peers that keep to HTTP/2's flow control to the octet, and notice who does not (RFC 9113 5.2)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from doorkit.frames import fields, split
from relayfuzz.bench import Bench
from relayfuzz.frames import STATUS

from torpor_router.dialects.messages.buildkit_status_pb2 import StatusResponse
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ACK, DEFAULT_WINDOW, END_STREAM, PADDED, Kind, Setting

_WINDOWS = (0, 1, 10, 500, 1_000, 2_000, 65_535, 100_000, 1 << 20)
_ANSWER = b"\x88" + encode(((b"content-type", b"application/grpc"),))
_TRAILERS = encode(((b"grpc-status", b"0"),))
TO_SATELLITE = encode(fields(path=b"/a.B/C"))
TO_STATUS = encode(fields(path=STATUS))
TO_NODE = encode(fields(b"", b"/torpor.v1.S/L"))


@dataclass
class Stream:
    """One stream, as one of its ends sees it."""

    send: int  # octets that may still be sent
    granted: int = 0  # by WINDOW_UPDATE, ever
    received: int = 0  # of flow control, padding included
    owed: int = 0  # of that, not yet given back
    sent: bytearray = field(default_factory=bytearray)
    came: bytearray = field(default_factory=bytearray)
    said: bool = False  # HEADERS were sent
    heads: int = 0  # HEADERS that came and were not its end
    ended: bool = False  # by this end
    over: bool = False  # by the other end
    reset: bool = False  # by either, or ended with a code of the door's


class Peer:
    """One end of a connection. `out` is what it has written and nobody has read yet."""

    def __init__(self, rng: random.Random, *, client: bool) -> None:
        self._rng = rng
        self._client = client
        self.out = bytearray()
        self._in = b""
        self.streams: dict[int, Stream] = {}
        self.send = DEFAULT_WINDOW
        self.receive = DEFAULT_WINDOW
        self.owed = 0
        self._theirs = DEFAULT_WINDOW  # INITIAL_WINDOW_SIZE, as the other end has it
        self._ours = [DEFAULT_WINDOW]  # the last that is acknowledged, and those that are not
        self.goaway = False
        self.settings(first=True)

    @property
    def window(self) -> int:
        """INITIAL_WINDOW_SIZE, as it was said last."""
        return self._ours[-1]

    # --- writing

    def settings(self, window: int | None = None, *, first: bool = False, least: int = 0) -> None:
        value = max(self._rng.choice(_WINDOWS) if window is None else window, least)
        if first and self._client:
            self.out += wire.PREFACE
        self._ours.append(value)
        self.out += wire.settings([(Setting.INITIAL_WINDOW_SIZE, value)])

    def open(self, stream: int, block: bytes) -> None:
        self.streams[stream] = Stream(self._theirs, said=True)
        self.out += wire.headers(stream, block, end_stream=False)

    def say(self, number: int, octets: bytes) -> None:
        """As much of `octets` as the windows allow."""
        stream = self.streams[number]
        if stream.ended or stream.reset:
            return
        pad = self._rng.choice((None, None, 0, 7))
        extra = 0 if pad is None else 1 + pad
        room = min(self.send, stream.send, 16_384) - extra
        if room <= 0:
            return
        if not stream.said:
            stream.said = True
            self.out += wire.headers(number, _ANSWER, end_stream=False)
        part = octets[:room]
        stream.sent += part
        stream.send -= len(part) + extra
        self.send -= len(part) + extra
        if pad is None:
            self.out += wire.frame(Kind.DATA, 0, number, part)
        else:
            padded = bytes((pad,)) + part + bytes(pad)
            self.out += wire.frame(Kind.DATA, PADDED, number, padded)

    def end(self, number: int) -> None:
        stream = self.streams[number]
        if stream.ended or stream.reset:
            return
        stream.ended = True
        if self._client:
            self.out += wire.frame(Kind.DATA, END_STREAM, number)
            return
        if not stream.said:
            stream.said = True
            self.out += wire.headers(number, _ANSWER, end_stream=False)
        self.out += wire.headers(number, _TRAILERS, end_stream=True)

    def cancel(self, number: int) -> None:
        stream = self.streams[number]
        if stream.reset or (stream.ended and stream.over):
            return
        stream.reset = True
        self.out += wire.rst_stream(number, wire.ErrorCode.CANCEL)

    def give_back(self, *, everything: bool = False) -> None:
        if self.owed:
            part = self.owed if everything else self._rng.randrange(1, self.owed + 1)
            self.owed -= part
            self.receive += part
            self.out += wire.window_update(0, part)
        for number, stream in self.streams.items():
            if stream.owed and not stream.reset and not stream.over:
                part = stream.owed if everything else self._rng.randrange(1, stream.owed + 1)
                stream.owed -= part
                stream.granted += part
                self.out += wire.window_update(number, part)

    # --- reading

    def feed(self, octets: bytes) -> None:
        self._in += octets
        if self._in.startswith(b"PRI"):
            if len(self._in) < len(wire.PREFACE):
                return
            self._in = self._in.removeprefix(wire.PREFACE)
        frames, self._in = split(self._in)
        for kind, flags, stream, payload in frames:
            self._read(kind, flags, stream, payload)

    def _read(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == Kind.SETTINGS:
            self._read_settings(flags, payload)
        elif kind == Kind.GOAWAY:
            self.goaway = True
        elif kind == Kind.WINDOW_UPDATE and number == 0:
            self.send += wire.u32(payload, 0)
            assert self.send <= wire.BIGGEST_WINDOW
        elif kind == Kind.HEADERS and number not in self.streams:
            assert not self._client, "an answer to nothing"
            self.streams[number] = Stream(self._theirs, over=bool(flags & END_STREAM))
        elif kind in (Kind.DATA, Kind.HEADERS, Kind.RST_STREAM, Kind.WINDOW_UPDATE):
            self._read_stream(kind, flags, number, payload)

    def _read_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if len(self._ours) > 1:
                del self._ours[0]
            return
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2]) == Setting.INITIAL_WINDOW_SIZE:
                value = wire.u32(payload, at + 2)
                for stream in self.streams.values():
                    stream.send += value - self._theirs
                self._theirs = value
        self.out += wire.SETTINGS_ACK

    def _read_stream(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        stream = self.streams[number]
        if kind == Kind.WINDOW_UPDATE:
            stream.send += wire.u32(payload, 0)
        elif kind == Kind.RST_STREAM:
            stream.reset = True
        elif kind == Kind.DATA:
            self._read_data(stream, flags, payload)
        elif not flags & END_STREAM:
            stream.heads += 1
            assert stream.heads == 1, "HEADERS twice"
        if kind in (Kind.DATA, Kind.HEADERS) and flags & END_STREAM:
            assert not stream.over, "END_STREAM twice"
            stream.over = True

    def _read_data(self, stream: Stream, flags: int, payload: bytes) -> None:
        self.receive -= len(payload)
        self.owed += len(payload)
        assert self.receive >= 0, "more DATA than the connection's window"
        stream.received += len(payload)
        stream.owed += len(payload)
        if payload:
            most = max(self._ours) + stream.granted
            assert stream.received <= most, "more DATA than the stream's window"
        assert not stream.over, "DATA behind END_STREAM"
        assert stream.heads or not self._client, "DATA before HEADERS"
        stream.came += payload[1 : len(payload) - payload[0]] if flags & PADDED else payload


class Honest:
    """A client, a worker and the node's services that break no rule, and the door between them."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        self.bench = Bench()
        self.bench.fleet.awake = rng.random() < 0.5
        self.client = Peer(rng, client=True)
        del self.client.out[: len(wire.PREFACE)]  # the socket's part reads that
        self.worker = Peer(rng, client=False)
        self.node = Peer(rng, client=False)
        self._read = {"client": 0, "worker": 0, "node": 0}
        self._last = -1
        self.to_node: set[int] = set()
        self.early: set[int] = set()  # streams that the door may begin to answer

    def run(self, steps: int = 150) -> None:
        for _ in range(steps):
            self.step()
        self.finish()

    def step(self) -> None:
        rng, pick = self.rng, self.rng.random()
        peer = rng.choice((self.client, self.worker, self.node))
        number = rng.choice(list(peer.streams)) if peer.streams else None
        if pick < 0.1 and self._last < 17:
            self.ask()
        elif pick < 0.4 and number is not None:
            peer.say(number, rng.randbytes(rng.choice((1, 100, 5_000, 16_384))))
        elif pick < 0.43 and number is not None:
            peer.end(number)
        elif pick < 0.44 and number is not None:
            peer.cancel(number)
        elif pick < 0.47:
            # A client's smaller window reaches the node later than its worker's acknowledgement
            # of it reaches the client: known, and of no client that is known.
            at_node = peer is self.client and self.to_node
            peer.settings(least=peer.window if at_node else 0)
        elif pick < 0.57:
            peer.give_back()
        elif pick < 0.6:
            self.bench.admit()
        elif pick < 0.62:
            self.bench.connect()
        elif pick < 0.64:
            self.bench.connect_node()
        else:
            self.bench.pass_time(rng.choice((0.0, 0.0, 0.5, 1.0)))
            self.deliver()

    def ask(self) -> None:
        self._last += 2
        pick = self.rng.random()
        if pick < 0.3:
            self.to_node.add(self._last)
            self.client.open(self._last, TO_NODE)
        elif pick < 0.6:
            self.early.add(self._last)
            self.client.open(self._last, TO_STATUS)
        else:
            self.client.open(self._last, TO_SATELLITE)

    def deliver(self, *, everything: bool = False) -> None:
        """Some of what anybody has written reaches whom it is for."""
        bench = self.bench
        ends = [("client", self.client, bench.client, bench.from_client)]
        if bench.leg is not None:
            ends.append(("worker", self.worker, bench.worker, bench.from_worker))
        if bench.node_leg is not None:
            ends.append(("node", self.node, bench.node, bench.from_node))
        for name, peer, wire_, feed in ends:
            if self.rng.random() < 0.5 or everything:
                size = len(peer.out) if everything else self.rng.randrange(len(peer.out) + 1)
                octets = bytes(peer.out[:size])
                if name != "node" or bench.node_read:
                    del peer.out[:size]
                    feed(octets)
            if self.rng.random() < 0.5 or everything:
                peer.feed(bytes(wire_.octets[self._read[name] :]))
                self._read[name] = len(wire_.octets)
        assert not bench.farewells, bench.farewells
        assert not self.client.goaway

    def finish(self) -> None:
        """All windows open, all streams end, and all that was said has been heard."""
        for _ in range(60):
            self.bench.admit()
            self.bench.connect()
            self.bench.connect_node()
            for peer in (self.client, self.worker, self.node):
                peer.give_back(everything=True)
            self.deliver(everything=True)
        for peer in (self.client, self.worker, self.node):
            if peer.streams or peer is self.client:
                peer.settings(1 << 20)
        for _ in range(60):
            for peer in (self.worker, self.node, self.client):
                for number in peer.streams:
                    peer.end(number)
                peer.give_back(everything=True)
            self.deliver(everything=True)
        self.check()

    def check(self) -> None:
        pair = self.bench.pair
        assert not pair.streams.states, f"still open: {pair.streams.states}"
        assert not pair.streams.node
        assert not pair.window.waiting, "frames that nobody will ever send"
        assert not len(pair.early), "answers that are never let go"
        for number, ours in self.client.streams.items():
            server = self.node if number in self.to_node else self.worker
            theirs = server.streams.get(number)
            if theirs is None or ours.reset or theirs.reset:
                continue
            came = ours.came
            if number in self.early:
                came = without_news(came, len(theirs.sent))
            assert came == theirs.sent, f"stream {number}, down"
            assert theirs.came == ours.sent, f"stream {number}, up"
            assert ours.over, f"stream {number} has no end"
            assert theirs.over, f"stream {number} has no end"
        if pair.ready:
            unpaid = pair.window._unpaid
            assert self.client.send == self.worker.receive, "up: the two ends count differently"
            assert self.worker.send - unpaid == self.client.receive, "down: they count differently"
        if self.bench.node_leg is not None:
            assert self.node.receive - self.bench.node_leg._room == 0


def without_news(came: bytearray, theirs: int) -> bytearray:
    """What the worker said, behind whole messages of the door's."""
    at, end = 0, len(came) - theirs
    while at < end:
        size = int.from_bytes(came[at + 1 : at + 5])
        StatusResponse.FromString(bytes(came[at + 5 : at + 5 + size]))
        at += 5 + size
    assert at == end, "a message of the door's is torn, or the worker's is not whole"
    return came[end:]
