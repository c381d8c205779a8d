"""An HTTP/2 client whose every step the test decides."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, ResponseReceived, TrailersReceived


class RawClient:
    """An HTTP/2 client made of the `h2` library, whose every step the test decides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.reader = reader
        self.writer = writer
        self.events: list[Event] = []
        self._waiting: list[tuple[int, bytes, bool]] = []
        self.ended = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while data := await self.reader.read(65_536):
            self.events += self.h2.receive_data(data)
            self._send_what_waits()
            self.flush()
        self.ended = True
        self.writer.close()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def start(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def request(
        self, stream: int, *metadata: tuple[str, str], path: str = "/t.T/Unary", end: bool = False
    ) -> None:
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        ]
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()

    def message(self, stream: int, octets: bytes, *, end: bool = True) -> None:
        """Send a message, as soon as the stream's window is open."""
        self._waiting.append((stream, b"\x00" + len(octets).to_bytes(4, "big") + octets, end))
        self._send_what_waits()
        self.flush()

    def _send_what_waits(self) -> None:
        waiting, self._waiting = self._waiting, []
        for stream, octets, end in waiting:
            if self.h2.local_flow_control_window(stream) < len(octets):
                self._waiting.append((stream, octets, end))
            else:
                self.h2.send_data(stream, octets, end)

    def of(self, kind: type[Event], stream: int | None = None) -> list[Any]:
        return [
            each
            for each in self.events
            if isinstance(each, kind) and stream in (None, getattr(each, "stream_id", None))
        ]

    def answer(self, stream: int) -> dict[str, str]:
        """Everything in the response's headers and trailers."""
        answers = self.of(ResponseReceived, stream) + self.of(TrailersReceived, stream)
        return {k: v for each in answers for k, v in each.headers}

    async def aclose(self) -> None:
        self._task.cancel()
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
        await asyncio.gather(self._task, return_exceptions=True)
