"""One delivery over HTTP: bounded in time and in memory, whatever the receiver does.

Nothing of an answer but its status is read, and no redirect is followed: a receiver could send us
anywhere, and show its owner what it found there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import aiohttp

from torpor_router.notices.errors import AddressForbidden, NoticeError, ReceiverFailed
from torpor_router.notices.names import Names
from torpor_router.notices.reach import Reach, checked_url

WITHIN = 10.0  # seconds, from the name's look-up to the answer's status
_LONGEST = 200  # characters of what went wrong


class Sender:
    """Sends. `context` is for receivers of a CA that the system does not know;
    `within` is in seconds."""

    def __init__(
        self, reach: Reach, *, context: ssl.SSLContext | None = None, within: float = WITHIN
    ) -> None:
        self._reach = reach
        self._context = context
        self._within = within
        self._names = Names()
        self._agent = f"torpor/{version('torpor')}"

    async def send(
        self, url: str, body: bytes, headers: Mapping[str, str], *, org: str, operators: bool
    ) -> str:
        """How the receiver has taken it: "204". `org` is the webhook's, "" of the operators'.

        Raises:
            BadWebhook, AddressForbidden, ReceiverFailed: it has not.
        """
        judge = _Judge(self._reach, plain=checked_url(url).scheme == "http", operators=operators)
        try:
            status = await self._post(url, body, headers, judge, org)
        except TimeoutError:
            raise ReceiverFailed(f"no answer within {self._within:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise judge.refused() or ReceiverFailed(_words(error)) from None
        if not 200 <= status < 300:
            raise ReceiverFailed(f"HTTP {status}")
        return str(status)

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], judge: _Judge, org: str
    ) -> int:
        connector = aiohttp.TCPConnector(
            ssl=self._context or True,
            resolver=self._names.of(org),
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
