"""Signing in with a token, and out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from torpor_provisioner.errors import TorporError
from torpor_router.access.directory import Directory
from torpor_router.access.errors import BadToken
from torpor_router.access.roles import Right
from torpor_router.access.sessions import LASTS, Sessions, id_of
from torpor_router.names import LONGEST_TOKEN
from torpor_router.status.errors import FormTooLarge, FromElsewhere, NotSignedIn
from torpor_router.status.guard import HTTP, peer_of
from torpor_router.status.rendering import Pages
from torpor_router.tokens import digest
from torpor_statemachine.postgres.pool import DatabaseAway

LARGEST = 16 * 1024  # octets of a form
_FORM_TIME = 10.0  # seconds for it to come


class Signing:
    """`ended` is called with the id of a session that somebody has ended here."""

    def __init__(
        self,
        directory: Directory,
        sessions: Sessions,
        pages: Pages,
        cookie: str,
        *,
        tls: bool,
        ended: Callable[[bytes], None],
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._pages = pages
        self._cookie = cookie
        self._tls = tls
        self._ended = ended

    async def form(self, _: web.Request) -> web.StreamResponse:
        return self._form(None)

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        _check_origin(request)
        token = await _token(request)
        try:
            if not token or len(token) > LONGEST_TOKEN:
                raise BadToken
            caller = await self._directory.caller(token, peer_of(request))
            caller.grant.check(Right.LOOK)
        except DatabaseAway:
            raise
        except TorporError as error:
            return self._form(error)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            self._cookie,
            await self._sessions.begin(digest(token)),
            max_age=int(LASTS.total_seconds()),
            httponly=True,
            samesite="Strict",
            secure=self._tls or request.headers.get("X-Forwarded-Proto") == "https",
        )
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        _check_origin(request)
        session_id = id_of(request.cookies.get(self._cookie, ""))
        response = web.Response(status=303, headers={"Location": "/signin"})
        response.del_cookie(self._cookie)
        if session_id is not None:
            self._ended(session_id)
            if await self._sessions.token_of(session_id, peer_of(request).address) is not None:
                await self._sessions.end(session_id)
        return response

    def _form(self, error: TorporError | None) -> web.Response:
        shown = None if isinstance(error, NotSignedIn) else error
        text = self._pages.render("signin.html", error=shown, viewer=None)
        status = 200 if error is None else max(403, HTTP.get(error.status, 500))
        return web.Response(text=text, status=status, content_type="text/html")


def _check_origin(request: web.Request) -> None:
    """Browsers say where a form stands; SameSite keeps the cookie from the others."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise FromElsewhere


async def _token(request: web.Request) -> str:
    try:
        async with asyncio.timeout(_FORM_TIME):
            form = await request.post()
    except (TimeoutError, ValueError, web.HTTPException) as error:
        raise FormTooLarge from error
    token = form.get("token", "")
    return token.strip() if isinstance(token, str) else ""
