"""One end of an HTTP/2 connection that says what a player tells it, within the other's windows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    PingAckReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.settings import SettingCodes, Settings
from replaykit.recording import Fields


@dataclass(frozen=True, slots=True)
class Came:
    """What the other side said on a stream, in the words of a recording."""

    stream: int
    kind: str
    fields: Fields = ()
    octets: bytes = b""
    code: int = 0


class Peer:
    """`window`: the octets that it lets each stream send before it has read them."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        came: Callable[[Peer, Came], None],
        *,
        client: bool,
        window: int,
    ) -> None:
        config = H2Configuration(
            client_side=client, header_encoding=False, normalize_inbound_headers=False
        )
        self.h2 = H2Connection(config)
        values = {SettingCodes(code): each for code, each in self.h2.local_settings.items()}
        values[SettingCodes.INITIAL_WINDOW_SIZE] = window
        self.h2.local_settings = Settings(client=client, initial_values=values)
        self.acknowledged = 0  # PINGs
        self.closed = False
        self._reader = reader
        self._writer = writer
        self._came = came
        self._opened = asyncio.Event()  # a window, a little
        self._over: set[int] = set()
        self._messages: defaultdict[int, bytes] = defaultdict(bytes)
        self.h2.initiate_connection()
        self._flush()
        self._task = asyncio.create_task(self._read())

    def headers(self, stream: int, fields: Fields, *, ends: bool = False) -> None:
        self.h2.send_headers(stream, list(fields), end_stream=ends)
        if ends:
            self._over.add(stream)
        self._flush()

    def end(self, stream: int) -> None:
        self.h2.end_stream(stream)
        self._flush()

    def reset(self, stream: int, code: int) -> None:
        self.h2.reset_stream(stream, code)
        self._flush()

    def ping(self, octets: bytes) -> None:
        self.h2.ping(octets)
        self._flush()

    async def message(self, stream: int, octets: bytes) -> None:
        """Send it, as the other side's windows let it go."""
        left = memoryview(octets)
        while left:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self._opened.clear()
                await self._opened.wait()
                continue
            self.h2.send_data(stream, bytes(left[:room]))
            self._flush()
            left = left[room:]

    def is_over(self, stream: int) -> bool:
        """Whether neither side says anything on it any more."""
        return self.closed or stream in self._over

    def abort(self) -> None:
        """Close the connection without a word."""
        self._writer.transport.abort()

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    async def _read(self) -> None:
        try:
            while octets := await self._reader.read(1 << 16):
                for event in self.h2.receive_data(octets):
                    self._take(event)
                self._flush()
        except ConnectionError:
            pass
        self.closed = True
        self._opened.set()

    def _take(self, event: object) -> None:
        match event:
            case RequestReceived() | ResponseReceived():
                assert event.headers is not None
                alone = isinstance(event, ResponseReceived) and event.stream_ended is not None
                self._said(event.stream_id, "trailers" if alone else "headers", event.headers)
            case TrailersReceived():
                assert event.headers is not None
                self._said(event.stream_id, "trailers", event.headers)
            case DataReceived():
                self._data(event)
            case StreamEnded() if not self.h2.config.client_side:
                assert event.stream_id is not None
                self._came(self, Came(event.stream_id, "end"))
            case StreamReset():
                assert event.stream_id is not None
                code = int(event.error_code or ErrorCodes.NO_ERROR)
                self._over.add(event.stream_id)
                self._came(self, Came(event.stream_id, "reset", code=code))
                self._opened.set()
            case PingAckReceived():
                self.acknowledged += 1
            case WindowUpdated():
                self._opened.set()

    def _said(self, stream: int | None, kind: str, headers: object) -> None:
        assert stream is not None
        fields = tuple((bytes(name), bytes(value)) for name, value in headers)  # type: ignore[attr-defined]
        self._came(self, Came(stream, kind, fields))

    def _data(self, event: DataReceived) -> None:
        assert event.stream_id is not None
        stream, size = event.stream_id, event.flow_controlled_length or 0
        if size:
            self.h2.acknowledge_received_data(size, stream)
        self._messages[stream] += event.data or b""
        while len(whole := self._messages[stream]) >= 5:
            length = 5 + int.from_bytes(whole[1:5], "big")
            if len(whole) < length:
                break
            self._messages[stream] = whole[length:]
            self._came(self, Came(stream, "message", octets=whole[:length]))
