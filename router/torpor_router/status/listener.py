"""Where browsers come in: TLS as at the door, and strangers no more costly than there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ssl import SSLContext
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import TorporError
from torpor_router.limits import Limits
from torpor_router.status.app import App
from torpor_router.strangers import Strangers
from torpor_router.transport.acceptor import Acceptor

_ASK = 10.0  # seconds for the first request
_END = 2.0  # seconds for open requests, at the end
_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "keepalive_timeout": 15.0,  # seconds between two requests
    "max_line_size": 4_096,  # octets
    "max_field_size": 4_096,
}


class _Connection(RequestHandler):
    """A browser's connection, a stranger's from its beginning to its end."""

    __slots__ = ("_began", "_strangers", "address", "is_stranger")

    def __init__(self, address: str, strangers: Strangers, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.address = address
        self.is_stranger = True
        self._strangers = strangers
        self._began: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._began = asyncio.get_running_loop().call_later(_ASK, self.abort)
        self._strangers.enter(self, self.address)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.came()
        self._strangers.leave(self)
        super().connection_lost(exc)

    def came(self) -> None:
        """A whole request has come."""
        if self._began is not None:
            self._began.cancel()

    def known(self) -> None:
        """Somebody is signed in."""
        self.is_stranger = False
        self._strangers.leave(self)

    # --- a `Stranger`

    def refuse(self, error: TorporError) -> None:  # noqa: ARG002 - it may not have asked yet
        self.abort()

    def cut(self, error: TorporError) -> None:  # noqa: ARG002
        self.abort()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Listener:
    """Listens on `sock` until `aclose`. `tls` gives the context of each connection."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._strangers = Strangers(limits)
        self._runner: web.AppRunner | None = None
        self._acceptor: Acceptor | None = None

    def __repr__(self) -> str:
        return f"<Listener of the status page, {self._strangers!r}>"

    async def listen(self, sock: socket.socket, tls: Callable[[], SSLContext] | None) -> Address:
        """Begin; where it listens."""
        runner = self._runner = web.AppRunner(
            self._app.web,
            handle_signals=False,
            shutdown_timeout=_END,
            handler_cancellation=True,
            **_OPTIONS,
        )
        await runner.setup()
        server = runner.server
        assert server is not None

        def connection(address: str) -> asyncio.Protocol:
            return _Connection(
                address, self._strangers, server, loop=asyncio.get_running_loop(), **_OPTIONS
            )

        self._acceptor = Acceptor(
            sock,
            connection,
            tls=tls,
            patience=self._limits.preface_timeout,
            linger=self._limits.linger,
        )
        name = sock.getsockname()
        return Address(name[0], name[1])

    async def aclose(self) -> None:
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        await self._app.live.aclose()
        if self._runner is not None:
            await self._runner.cleanup()
