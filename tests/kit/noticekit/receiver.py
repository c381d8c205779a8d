"""A receiver of notices that does what a test wants: a socket, and what it answers to each."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import trustme
from waiting import until

CA = trustme.CA()
OK = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"
HANGS, RESETS, HUGE, DRIPS = b"hangs", b"resets", b"huge", b"drips"


def answer(status: int, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} x", *fields, "content-length: 0", "", ""]).encode()


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def signatures(self, secret: str) -> str:
        """What the header is to say, by OpenSSL."""
        key = base64.b64decode(secret.removeprefix("whsec_")).hex()
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key}", "-binary"],
            input=signed,
            capture_output=True,
            check=True,
        )
        return f"v1,{base64.b64encode(done.stdout).decode()}"


class Receiver:
    """`received` are the requests; `answers` what the next ones are answered with, then 204."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[bytes] = []
        self.always: bytes = OK
        self.open = 0
        self.most_open = 0
        self.port = 0
        self.sent = 0  # octets of huge answers
        self.on_request: Callable[[], None] = lambda: None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.received]

    async def has(self, number: int) -> list[Received]:
        await until(lambda: len(self.received) >= number)
        return self.received

    @asynccontextmanager
    async def running(self, *, tls: bool = False) -> AsyncIterator[Receiver]:
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            CA.issue_cert("localhost").configure_cert(context)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = (line.partition(": ") for line in head[1:] if line)
                headers = {name.lower(): value for name, _, value in fields}
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append(Received(headers, body))
                self.on_request()
                what = self.answers.pop(0) if self.answers else self.always
                if what == HANGS:
                    await reader.read()  # until the sender gives up
                else:
                    await self._answer(writer, what)
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, what: bytes) -> None:
        match what:
            case b"resets":
                writer.transport.abort()
            case b"huge":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
                while True:
                    writer.write(bytes(100_000))
                    self.sent += 100_000
                    await writer.drain()
            case b"drips":
                for octet in b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000:
                    writer.write(bytes([octet]))
                    await writer.drain()
                    await asyncio.sleep(0.05)
            case _:
                writer.write(what)
                await writer.drain()
