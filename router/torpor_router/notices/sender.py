"""One delivery over HTTP: bounded in time and in memory, whatever the receiver does.

Nothing of an answer but its status is read, and no redirect is followed: a receiver could send us
anywhere, and show its owner what it found there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from torpor_router.notices.errors import AddressForbidden, NoticeError, ReceiverFailed
from torpor_router.notices.reach import Reach, checked_url

WITHIN = 10.0  # seconds, from the name's look-up to the answer's status
NAMES = 4  # that are looked up at a time: a name server that hangs keeps nobody else's threads
_LONGEST = 200  # characters of what went wrong


class Sender:
    """Sends inside its context. `context` is for receivers of a CA that the system does not know;
    `within` is in seconds."""

    def __init__(
        self, reach: Reach, *, context: ssl.SSLContext | None = None, within: float = WITHIN
    ) -> None:
        self._reach = reach
        self._context = context
        self._within = within
        self._names = _Names()
        self._agent = f"torpor/{version('torpor')}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._names.end()

    async def send(
        self, url: str, body: bytes, headers: Mapping[str, str], *, operators: bool
    ) -> str:
        """How the receiver has taken it: "204".

        Raises:
            BadWebhook, AddressForbidden, ReceiverFailed: it has not.
        """
        judge = _Judge(self._reach, plain=checked_url(url).scheme == "http", operators=operators)
        try:
            status = await self._post(url, body, headers, judge)
        except TimeoutError:
            raise ReceiverFailed(f"no answer within {self._within:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise judge.refused() or ReceiverFailed(_words(error)) from None
        if not 200 <= status < 300:
            raise ReceiverFailed(f"HTTP {status}")
        return str(status)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str], judge: _Judge) -> int:
        connector = aiohttp.TCPConnector(
            ssl=self._context or True,
            resolver=self._names,
            use_dns_cache=False,
            force_close=True,
            socket_factory=judge.socket,
        )
        own = {"content-type": "application/json", "user-agent": self._agent}
        async with (
            asyncio.timeout(self._within),
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            ) as session,
        ):
            answer = await session.post(
                url, data=body, headers={**own, **headers}, allow_redirects=False
            )
            answer.close()
            return answer.status


class _Judge:
    """Makes the sockets of one delivery: only towards where it may go. It is asked about each
    address that a name has led to, right before it is connected to."""

    def __init__(self, reach: Reach, *, plain: bool, operators: bool) -> None:
        self._reach = reach
        self._plain = plain
        self._operators = operators
        self._forbidden = ""

    def socket(self, info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, where = info
        address = str(where[0])
        if not self._reach.allows(address, plain=self._plain, operators=self._operators):
            self._forbidden = address
            raise PermissionError(address)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library's
        return made

    def refused(self) -> NoticeError | None:
        if not self._forbidden:
            return None
        without = " without TLS" if self._plain else ""
        return AddressForbidden(f"{self._forbidden}{without}")


class _Names(AbstractResolver):
    """Looks names up in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NAMES, thread_name_prefix="webhook names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=int(where[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, where in found
        ]

    async def close(self) -> None:
        """Its sessions end one by one; it goes on."""

    def end(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _words(error: Exception) -> str:
    """Never the address, which may be a secret."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate: {error.certificate_error}"[:_LONGEST]
        case aiohttp.ClientConnectorError():
            return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"[
                :_LONGEST
            ]
        case aiohttp.ServerDisconnectedError():
            return "it ended the connection without an answer"
        case aiohttp.ClientResponseError():
            return "its answer is no HTTP"
        case OSError():
            return f"the connection broke: {error.strerror or type(error).__name__}"[:_LONGEST]
        case _:
            return f"the connection broke: {type(error).__name__}"
