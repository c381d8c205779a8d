"""The way to a Postgres, which a test can cut, silence and mend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

_ACCEPTING = 10  # turns of the loop, in which a connection gets from its acceptance to `_serve`


class _Accepted(asyncio.StreamReaderProtocol):
    """Is known from the first moment, before anything serves it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]],
        known: set[asyncio.Transport],
    ) -> None:
        super().__init__(reader, serve)
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._own = transport
        self._known.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._known.discard(self._own)
        super().connection_lost(error)


class Wire:
    """Between a node and its Postgres: can be cut, and mended."""

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.lead_to(url)
        self._path = folder / ".s.PGSQL.5432"
        query["host"] = str(folder)
        self.url = parts._replace(query=urlencode(query, quote_via=quote)).geturl()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._accepted: set[asyncio.Transport] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._until_silence: int | None = None

    @classmethod
    @asynccontextmanager
    async def laid(cls, url: str, folder: Path) -> AsyncIterator[Self]:
        wire = cls(url, folder)
        await wire.mend()
        try:
            yield wire
        finally:
            await wire.cut()

    def lead_to(self, url: str) -> None:
        """New connections go to that server: one name, and another behind it after a failover."""
        [host] = parse_qs(urlsplit(url).query)["host"]
        self._server_path = str(Path(host) / ".s.PGSQL.5432")

    async def mend(self) -> None:
        self._flows.set()
        self._until_silence = None
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(self._accept, str(self._path))

    async def cut(self) -> None:
        """Every connection ends, and new ones are refused."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self._path.unlink(missing_ok=True)
            for _ in range(_ACCEPTING):  # who was accepted just now is known only then
                await asyncio.sleep(0)
        self.end_connections()
        for task in list(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        for transport in list(self._accepted):
            transport.abort()
        await asyncio.sleep(0)  # in which they close

    def end_connections(self) -> None:
        """Those there are end; new ones are let through."""
        for writer in list(self._open):
            writer.transport.abort()

    def silence(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._flows.clear()

    def forsake(self) -> Callable[[], None]:
        """Nothing passes any more on the connections there are, neither side is told, and new
        ones are let through: a host is gone, and another takes its place. Who has the answer
        called ends those connections."""
        forsaken = list(self._open)
        self._flows.clear()
        self._flows = asyncio.Event()
        self._flows.set()

        def end() -> None:
            for writer in forsaken:
                writer.transport.abort()

        return end

    def vanish_after(self, messages: int) -> None:
        """The node's host dies when it has said so much more: Postgres hears no end of it."""
        self._until_silence = messages
        if not messages:
            self.silence()

    def _said(self) -> None:
        if self._until_silence is not None:
            self._until_silence -= 1
            if self._until_silence <= 0:
                self.silence()

    def _accept(self) -> asyncio.StreamReaderProtocol:
        return _Accepted(asyncio.StreamReader(), self._serve, self._accepted)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        self._open.add(writer)
        flows = self._flows
        try:
            above, up = await asyncio.open_unix_connection(self._server_path)
            self._open.add(up)
            try:
                await asyncio.gather(
                    self._pass(reader, up, flows, self._said), self._pass(above, writer, flows)
                )
            finally:
                self._open.discard(up)
                up.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._passing.discard(task)
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flows: asyncio.Event,
        passed: Callable[[], None] = lambda: None,
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await flows.wait()
                writer.write(data)
                await writer.drain()
                passed()
        await flows.wait()  # nor does an end pass
        writer.transport.abort()
