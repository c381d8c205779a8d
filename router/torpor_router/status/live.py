"""What changes, to every page that is open: server-sent events.

However many look, the database is asked once a second; nobody looks, and it is not asked at all.
What is sent is HTML by the id of what it replaces, made once for all who may see the same. Who
does not read is dropped when `_UNREAD` messages wait.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

from torpor_provisioner.errors import TorporError
from torpor_router.access.sessions import Sessions
from torpor_router.peer_info import UNKNOWN_PEER
from torpor_router.shares import Shares
from torpor_router.status.errors import TooManyViewers
from torpor_router.status.guard import Guard, Viewer, abort, stream_headers
from torpor_router.status.plots import shares
from torpor_router.status.rendering import Pages
from torpor_router.status.views import card, hold
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.overview import News, Overview, Scope, Seen, Waiting

log = logging.getLogger(__name__)

EVERY = 1.0  # seconds between two looks
MOST = 200  # pages at once; an org may have as many as it leaves free
_OVERLAP = timedelta(seconds=3)  # a transaction may be committed so much later than it began
_SESSIONS = 10  # looks between two at sessions, which may be ended on another node
_UNREAD = 8  # messages
_ALIVE = 15.0  # seconds between two signs of life
_STALL = 30.0  # seconds for a message to be taken
_BUFFER = 32 * 1024  # octets of a connection

_END = b'data: {"ended": true}\n\n'


@dataclass(eq=False)
class _Page:
    """An open page. None in its queue is its end."""

    viewer: Viewer
    request: web.Request
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_UNREAD))
    new: bool = True  # what has changed since it was made is yet to be told

    def send(self, message: bytes) -> None:
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            abort(self.request)

    def end(self, message: bytes | None = None) -> None:
        while not self.queue.empty():
            self.queue.get_nowait()
        if message is not None:
            self.queue.put_nowait(message)
        self.queue.put_nowait(None)


class Live:
    """`looks` counts what the database was asked."""

    def __init__(self, overview: Overview, guard: Guard, sessions: Sessions, pages: Pages) -> None:
        self._overview = overview
        self._guard = guard
        self._sessions = sessions
        self._templates = pages
        self._open: set[_Page] = set()
        self._shares = Shares(MOST)
        self._watching: asyncio.Task[None] | None = None
        self._since: datetime | None = None
        self._last: Mapping[UUID, Seen] = {}
        self._waiting: list[tuple[object, ...]] = []
        self._away = False
        self.looks = 0

    def __repr__(self) -> str:
        return f"<Live on {len(self._open)} pages>"

    def __len__(self) -> int:
        return len(self._open)

    @property
    def idle(self) -> bool:
        """Whether nothing is looked for."""
        return self._watching is None or self._watching.done()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One page's events, until it is closed.

        Raises:
            NotSignedIn, RoleForbids, DatabaseAway, TooManyViewers: it gets none.
        """
        viewer = await self._guard.viewer(request)
        with self._shares.place(viewer.caller.org, TooManyViewers):
            response = web.StreamResponse(headers=stream_headers())
            await response.prepare(request)
            _bound_buffers(request)
            page = _Page(viewer, request)
            self._open.add(page)
            self._watch()
            try:
                await _write(page, response)
            finally:
                self._open.discard(page)
        return response

    def ended(self, session_id: bytes) -> None:
        """Somebody signed out."""
        for page in self._open:
            if page.viewer.session_id == session_id:
                page.end(_END)

    async def aclose(self) -> None:
        for page in self._open:
            page.end()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    # --- one look for all

    def _watch(self) -> None:
        if self.idle:
            self._watching = asyncio.create_task(self._look_for_ever(), name="status page")

    async def _look_for_ever(self) -> None:
        self._since, self._last, self._waiting = None, {}, []
        while self._open:
            try:
                await self._look()
                self._say_away(away=False)
            except DatabaseAway:
                self._say_away(away=True)
            except Exception:
                log.exception("what has changed could not be told to status pages")
            await asyncio.sleep(EVERY)

    async def _look(self) -> None:
        self.looks += 1
        await self._end_the_unwelcome()
        news = await self._overview.news(self._since)
        self._since = news.seen_at - _OVERLAP
        self._tell(news)
        self._last = {each.id: each for each in news.satellites}

    async def _end_the_unwelcome(self) -> None:
        """Those whose token has ended; it is known without a question to the database."""
        pages = list(self._open)
        if self.looks % _SESSIONS == 0:
            live = await self._sessions.live([page.viewer.session_id for page in pages])
            for page in pages:
                if page.viewer.session_id not in live:
                    page.end(_END)
        for page in pages:
            viewer = page.viewer
            try:
                caller = await self._guard.looker(
                    viewer.token_hash, UNKNOWN_PEER, viewer.session_id
                )
            except DatabaseAway:
                continue  # it is not ended for that
            except TorporError:
                page.end(_END)
                continue
            page.viewer = replace(viewer, caller=caller)

    def _tell(self, news: News) -> None:
        old = {each.id for each in news.satellites if self._last.get(each.id) == each}
        cards: dict[UUID, str] = {}
        messages: dict[tuple[Scope, bool], bytes] = {}
        for page in self._open:
            scope = page.viewer.scope
            seen = [
                each
                for each in news.satellites
                if (page.new or each.id not in old) and scope.covers(each.org_id, each.name)
            ]
            for each in seen:
                if each.id not in cards:
                    shown = card(each, news.seen_at)
                    cards[each.id] = self._templates.render("card.html", card=shown)
            if (scope, page.new) not in messages:
                parts = {f"s-{each.id}": cards[each.id] for each in seen}
                messages[scope, page.new] = self._message(news, scope, parts, new=page.new)
            message = messages[scope, page.new]
            page.new = False
            if message:
                page.send(message)
        self._waiting = _who(news.waiting)

    def _message(self, news: News, scope: Scope, parts: dict[str, str], *, new: bool) -> bytes:
        waiting = [each for each in news.waiting if scope.covers(each.org_id, each.name)]
        if new or _who(news.waiting) != self._waiting:
            holds = [hold(each, news.seen_at) for each in waiting]
            parts["holds"] = self._templates.render("holds.html", holds=holds)
        if news.counts is not None and scope.names is None:
            counts = _counts(news.counts, scope)
            parts["counts"] = self._templates.render(
                "counts.html", counts=counts, shares=shares(counts), only=None, live=True
            )
        if not parts and not news.full:
            return b""
        return _event({"now": news.seen_at.timestamp(), "parts": parts, "more": news.full})

    def _say_away(self, *, away: bool) -> None:
        if away != self._away:
            self._away = away
            for page in self._open:
                page.send(_event({"away": away}))


def _who(waiting: Iterable[Waiting]) -> list[tuple[object, ...]]:
    """What tells one look at those who wait from another, apart from the time that has passed."""
    return [(each.id, each.caller, each.requests, each.state) for each in waiting]


def _counts(counts: Mapping[UUID, Mapping[State, int]], scope: Scope) -> Mapping[State, int]:
    if scope.org_id is not None:
        return counts.get(scope.org_id, {})
    return sum((Counter(each) for each in counts.values()), Counter[State]())


def _bound_buffers(request: web.Request) -> None:
    """What a page that does not read can take of this process, and of the kernel."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(_BUFFER)
        sock = request.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _BUFFER)


def _event(message: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(message)}\n\n".encode()


async def _write(page: _Page, response: web.StreamResponse) -> None:
    message: bytes | None = b"retry: 3000\n\n"
    try:
        while message is not None:
            async with asyncio.timeout(_STALL):
                await response.write(message)
            try:
                async with asyncio.timeout(_ALIVE):
                    message = await page.queue.get()
            except TimeoutError:
                message = b": still here\n\n"
    except TimeoutError:
        abort(page.request)
    except ConnectionError:
        return  # the page was closed
