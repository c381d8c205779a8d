"""Around every request: headers, errors as pages, time, and who is signed in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, cast

from aiohttp import web

from torpor_provisioner.errors import Status, TorporError
from torpor_router.access.directory import Directory
from torpor_router.access.errors import BadToken, TokenEnded
from torpor_router.access.roles import Right
from torpor_router.access.sessions import Sessions, id_of
from torpor_router.access.verdict import NO_ORG, Caller
from torpor_router.errors import Internal
from torpor_router.peer_info import PeerInfo
from torpor_router.status.errors import BadFilter, NoSuchPage, NotSignedIn
from torpor_router.status.filters import LONGEST
from torpor_router.status.rendering import Pages
from torpor_statemachine.store.overview import Scope

log = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds for an answer to be made, and again for it to be read
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HTTP = {
    Status.INVALID_ARGUMENT: 400,
    Status.UNAUTHENTICATED: 401,
    Status.PERMISSION_DENIED: 403,
    Status.NOT_FOUND: 404,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.UNAVAILABLE: 503,
}


class Connection(Protocol):
    """As the listener makes them."""

    address: str
    is_stranger: bool

    def came(self) -> None: ...

    def known(self) -> None: ...


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. `session_id` is the SHA-256 of the browser's secret."""

    caller: Caller
    token_hash: bytes
    session_id: bytes

    @property
    def scope(self) -> Scope:
        org_id = None if self.caller.org_id == NO_ORG else self.caller.org_id
        return Scope(org_id, self.caller.grant.satellites)

    @property
    def org(self) -> str | None:
        """None: every org's."""
        return self.caller.org or None

    @property
    def operates(self) -> bool:
        return self.scope.org_id is None


class Guard:
    """`cookie` is the name of the cookie with a session's secret."""

    def __init__(self, directory: Directory, sessions: Sessions, pages: Pages, cookie: str) -> None:
        self._directory = directory
        self._sessions = sessions
        self._pages = pages
        self.cookie = cookie

    # --- who looks

    async def viewer(self, request: web.Request) -> Viewer:
        """
        Raises:
            NotSignedIn: no session is shown, or one that has ended, or whose token has.
            RoleForbids: the token may not look at satellites any more.
            DatabaseAway: it is not known here.
            TooManyGuesses: the address showed too many sessions that nobody has.
        """
        session_id = id_of(request.cookies.get(self.cookie, ""))
        if session_id is None:
            raise NotSignedIn
        peer = peer_of(request)
        token_hash = await self._sessions.token_of(session_id, peer.address)
        if token_hash is None:
            raise NotSignedIn("the session has ended")
        caller = await self.looker(token_hash, peer, session_id)
        connection_of(request).known()
        return Viewer(caller, token_hash, session_id)

    async def looker(self, token_hash: bytes, peer: PeerInfo, session_id: bytes) -> Caller:
        """Whose token it is, who may look; the session ends with the token.

        Raises:
            NotSignedIn, RoleForbids, DatabaseAway: as above.
        """
        try:
            caller = await self._directory.holder(token_hash, peer)
        except (BadToken, TokenEnded) as error:
            await self._sessions.end(session_id)
            raise NotSignedIn(error.cause) from error
        caller.grant.check(Right.LOOK)
        return caller

    # --- around a request

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection_of(request).came()
        try:
            response = await self._answered(request, handler)
        except TorporError as error:
            response = self.refusal(request, error)
        if response.prepared:
            return response  # a stream, whose end this is
        if connection_of(request).is_stranger:
            response.force_close()  # one request each, or it could stay for ever
        response.headers.update(_HEADERS | dict(response.headers))
        try:
            async with asyncio.timeout(PATIENCE):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            abort(request)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if len(request.query_string) > LONGEST:
            raise BadFilter(f"{len(request.query_string)} characters: {LONGEST} at most")
        try:
            return await handler(request)
        except web.HTTPRedirection as redirection:
            return redirection
        except web.HTTPException as error:  # aiohttp's own: no such path, another method
            raise NoSuchPage(f"{request.method} {request.path[:80]!r}") from error
        except TorporError:
            raise
        except Exception as error:
            log.exception("a status page could not be made")
            raise Internal from error

    def refusal(self, request: web.Request, error: TorporError) -> web.Response:
        """The page, or the line, that says so."""
        if isinstance(error, NotSignedIn) and request.method == "GET" and request.path != "/live":
            return web.Response(status=303, headers={"Location": "/signin"})
        status = HTTP.get(error.status, 500)
        if request.path == "/live":
            return web.Response(text=f"{error}\n", status=status)
        text = self._pages.render("error.html", error=error, status=status, viewer=None)
        return web.Response(text=text, status=status, content_type="text/html")


def stream_headers() -> dict[str, str]:
    return {**_HEADERS, "Content-Type": "text/event-stream"}


def peer_of(request: web.Request) -> PeerInfo:
    return PeerInfo(connection_of(request).address)


def connection_of(request: web.Request) -> Connection:
    return cast("Connection", request.protocol)


def abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
