"""From the octets of two sides to events."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial

import hpack
from doorkit.frames import Frame, split
from replaykit.recording import CLIENT, WORKER, Event, Fields, Recording

from torpor_router.h2 import wire
from torpor_router.h2.wire import ACK, END_HEADERS, END_STREAM, Kind

PADDED, PRIORITY = 0x8, 0x20
FIELD_1 = 0x0A  # of a protobuf message, with octets in it


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self._connections = 0
        self._began: float | None = None

    def now(self) -> float:
        if self._began is None:
            self._began = time.monotonic()
        return time.monotonic() - self._began

    def note(
        self,
        by: str,
        connection: int,
        stream: int,
        kind: str,
        fields: Fields = (),
        octets: bytes = b"",
        code: int = 0,
    ) -> None:
        self.events.append(Event(self.now(), by, connection, stream, kind, fields, octets, code))

    def connection(self) -> int:
        self._connections += 1
        return self._connections - 1

    @property
    def recording(self) -> Recording:
        return Recording(tuple(self.events))


class Side:
    """The frames of one side of one connection, made into events."""

    def __init__(self, recorder: Recorder, connection: int, by: str) -> None:
        self._note = partial(recorder.note, by, connection)
        self._by = by
        self._rest = b""
        self._greeted = by == WORKER
        self._decoder = hpack.Decoder()
        self._decoder.max_allowed_table_size = 1 << 16
        self._block = b""
        self._opened: set[int] = set()
        self._messages: defaultdict[int, bytes] = defaultdict(bytes)

    def take(self, octets: bytes) -> None:
        self._rest += octets
        if not self._greeted:
            if len(self._rest) < len(wire.PREFACE):
                return
            self._rest = self._rest.removeprefix(wire.PREFACE)
            self._greeted = True
        frames, self._rest = split(self._rest)
        for each in frames:
            self._frame(each)

    def _frame(self, frame: Frame) -> None:
        ends = bool(frame.flags & END_STREAM)
        match frame.kind:
            case Kind.SETTINGS if not frame.flags & ACK:
                self._settings(frame.payload)
            case Kind.PING if not frame.flags & ACK:
                self._note(0, "ping", octets=frame.payload)
            case Kind.GOAWAY:
                self._note(0, "goaway", code=wire.u32(frame.payload, 4), octets=frame.payload[8:])
            case Kind.RST_STREAM:
                self._note(frame.stream, "reset", code=wire.u32(frame.payload, 0))
            case Kind.HEADERS | Kind.CONTINUATION:
                self._block += _content(frame)
                if frame.kind == Kind.HEADERS:
                    self._ends = ends
                if frame.flags & END_HEADERS:
                    self._headers(frame.stream)
            case Kind.DATA:
                self._data(frame.stream, _content(frame), ends=ends)

    def _settings(self, payload: bytes) -> None:
        pairs = [payload[at : at + 6] for at in range(0, len(payload), 6)]
        named = tuple(
            (b"%d" % int.from_bytes(pair[:2], "big"), b"%d" % wire.u32(pair, 2)) for pair in pairs
        )
        self._note(0, "settings", fields=named)

    def _headers(self, stream: int) -> None:
        block, self._block = self._block, b""
        fields = tuple((bytes(n), bytes(v)) for n, v in self._decoder.decode(block, raw=True))
        last = self._by == WORKER and (stream in self._opened or self._ends)
        self._opened.add(stream)
        self._note(stream, "trailers" if last else "headers", fields=fields)
        if self._ends and not last:
            self._note(stream, "end")

    def _data(self, stream: int, octets: bytes, *, ends: bool) -> None:
        self._messages[stream] += octets
        while len(whole := self._messages[stream]) >= 5:
            size = 5 + int.from_bytes(whole[1:5], "big")
            if len(whole) < size:
                break
            self._note(stream, "message", octets=whole[:size])
            self._messages[stream] = whole[size:]
        if ends:
            self._note(stream, "end")


def _content(frame: Frame) -> bytes:
    """A frame's payload without padding and priority (RFC 9113, sections 6.1 and 6.2)."""
    payload = frame.payload
    padding = 0
    if frame.kind != Kind.CONTINUATION and frame.flags & PADDED:
        padding, payload = payload[0], payload[1:]
    if frame.kind == Kind.HEADERS and frame.flags & PRIORITY:
        payload = payload[5:]
    return payload[: len(payload) - padding]


def inside(session: list[Event]) -> Recording:
    """What passes inside a stream of BuildKit's `Control/Session`, which is HTTP/2 once more: its
    messages are `BytesMessage {bytes data = 1}`, and the worker is the client in there."""
    recorder = Recorder()
    sides = {WORKER: Side(recorder, 0, CLIENT), CLIENT: Side(recorder, 0, WORKER)}
    for each in session:
        if each.kind == "message":
            octets = each.octets[5:]
            assert octets[0] == FIELD_1, "not recorded whole"
            at = 1
            while octets[at] & 0x80:
                at += 1
            sides[each.by].take(octets[at + 1 :])
    return recorder.recording
