"""Looks names up in threads that delay neither another org's deliveries nor the process's end.

A look-up cannot be ended from outside: its thread stays until the name server has answered.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from torpor_router.notices.errors import ReceiverFailed

OF_AN_ORG = 2  # look-ups whose threads are busy at a time; as many as its deliveries
MOST = 32  # of all orgs

_Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]


class Names:
    """Counts the look-ups that are busy, by org; on one event loop."""

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()

    def of(self, org: str) -> AbstractResolver:
        return _OfOrg(self, org)

    async def look_up(self, org: str, host: str, port: int, family: socket.AddressFamily) -> _Found:
        """
        Raises:
            ReceiverFailed: too many look-ups hang.
            OSError, ValueError: there is no such name.
        """
        if self._busy[org] >= OF_AN_ORG or self._busy.total() >= MOST:
            raise ReceiverFailed("earlier look-ups of names have not ended yet")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[_Found] = loop.create_future()

        def end(result: _Found | Exception) -> None:
            self._ended(org)
            if found.done():
                return
            if isinstance(result, Exception):
                found.set_exception(result)
            else:
                found.set_result(result)

        def work() -> None:
            result: _Found | Exception
            try:
                result = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                result = error
            with suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(end, result)

        self._busy[org] += 1
        try:
            threading.Thread(target=work, name="webhook name", daemon=True).start()
        except RuntimeError as error:
            self._ended(org)
            raise OSError(str(error)) from None
        return await found

    def _ended(self, org: str) -> None:
        self._busy[org] -= 1
        if not self._busy[org]:
            del self._busy[org]


class _OfOrg(AbstractResolver):
    def __init__(self, names: Names, org: str) -> None:
        self._names = names
        self._org = org

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=int(where[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, where in await self._names.look_up(
                self._org, host, port, family
            )
        ]

    async def close(self) -> None:
        """There is nothing to close."""
