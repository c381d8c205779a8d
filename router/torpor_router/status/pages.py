"""The pages. Each is made from one look at the database, and may be seen by a `Viewer` alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from aiohttp import web

from torpor_provisioner.errors import catalogue
from torpor_router.control.explaining import STEPS, explained
from torpor_router.names import is_name
from torpor_router.status import filters, plots, strips
from torpor_router.status.boards import Boards
from torpor_router.status.errors import NoSuchPage
from torpor_router.status.guard import Guard, Viewer
from torpor_router.status.rendering import Pages as Templates
from torpor_router.status.views import card, hold
from torpor_statemachine.errors import recall
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.store.incidents import Incidents
from torpor_statemachine.store.node_list import NodeList
from torpor_statemachine.store.overview import Filter, Overview

WEEK = timedelta(days=7)
HISTORY = 500  # steps of a satellite
_LISTED = 40  # of them, that stand in words

Page = Callable[[web.Request, Viewer], Awaitable[web.Response]]


class Fleet(Protocol):
    """What is read of `torpor_statemachine.fleet.Fleet`."""

    async def find(self, org_id: UUID, name: str) -> Satellite | None: ...

    async def history(self, satellite_id: UUID, limit: int) -> Sequence[Transition]: ...


class Pages:
    def __init__(
        self,
        fleet: Fleet,
        overview: Overview,
        incidents: Incidents,
        nodes: NodeList,
        guard: Guard,
        *,
        templates: Templates,
    ) -> None:
        self._fleet = fleet
        self._overview = overview
        self._boards = Boards(overview)
        self._incidents = incidents
        self._nodes = nodes
        self._guard = guard
        self._templates = templates

    def seen_by_viewers(self, page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await page(request, await self._guard.viewer(request))

        return handler

    async def html(
        self, template: str, viewer: Viewer, status: int = 200, **values: Any
    ) -> web.Response:
        """Made in a thread, since a long page would hold up the relay."""
        text = await asyncio.to_thread(self._templates.render, template, viewer=viewer, **values)
        return web.Response(text=text, status=status, content_type="text/html")

    async def fleet(self, request: web.Request, viewer: Viewer) -> web.Response:
        only = filters.read(request.query)
        shown = await self._boards.page(viewer.scope, only)
        board, only = shown.board, shown.only
        cards = await asyncio.to_thread(
            lambda: [card(each, board.seen_at) for each in board.satellites]
        )
        last = board.satellites[-1] if board.satellites else None
        return await self.html(
            "fleet.html",
            viewer,
            200 if shown.away is None else 503,
            board=board,
            cards=cards,
            holds=[hold(each, board.seen_at) for each in board.waiting],
            counts=board.counts,
            shares=plots.shares(board.counts),
            only=only,
            states=filters.SHOWN,
            written=filters.written,
            next=f"{last.org}/{last.name}" if board.more and last is not None else "",
            live=only == Filter() and viewer.scope.names is None,
            away=shown.away,
        )

    async def satellite(self, request: web.Request, viewer: Viewer) -> web.Response:
        org, name = request.match_info["org"], request.match_info["name"]
        org_id = await self._org_id(viewer, org)
        seen = viewer.scope.covers(org_id, name) and is_name(name) if org_id else False
        found = await self._fleet.find(org_id, name) if org_id and seen else None
        if found is None:
            raise NoSuchPage(f"{org[:40]}/{name[:40]}")
        steps = await self._fleet.history(found.id, HISTORY)
        now = datetime.now(UTC)
        oldest_first = list(reversed(steps))
        stands = found.obstacle or found.failure
        return await self.html(
            "satellite.html",
            viewer,
            satellite=found,
            why=explained(found, steps[:STEPS], now),
            week=strips.week(oldest_first, found.state, found.state_since, now),
            cut=len(steps) == HISTORY and steps[-1].at > now - WEEK,
            steps=steps[:_LISTED],
            trouble=recall(stands) if stands else None,
        )

    async def _org_id(self, viewer: Viewer, org: str) -> UUID | None:
        if viewer.org is not None:
            return viewer.caller.org_id if org == viewer.org else None
        return await self._overview.org_id(org) if is_name(org) else None

    async def wakes(self, _: web.Request, viewer: Viewer) -> web.Response:
        kinds = await self._incidents.wakes(viewer.scope, WEEK)
        return await self.html(
            "wakes.html",
            viewer,
            kinds=[(each, sum(each.buckets), plots.histogram(each)) for each in kinds],
            seconds=lambda value: timedelta(seconds=value),
        )

    async def failures(self, _: web.Request, viewer: Viewer) -> web.Response:
        found = await self._incidents.failures(viewer.scope, WEEK)
        kinds = {each.code: each for each in catalogue()}
        lines = []
        for failure in found:
            code, words = failure.detail.split(" ", 1)
            kind = kinds.get(code)
            remedy = kind.remedy if kind is not None else ""
            lines.append((failure, code, words.removesuffix(f". {remedy}"), remedy))
        return await self.html("failures.html", viewer, failures=lines)

    async def codes(self, _: web.Request, viewer: Viewer) -> web.Response:
        codes = sorted(catalogue(), key=lambda each: each.code)
        return await self.html("codes.html", viewer, codes=codes)

    async def nodes(self, _: web.Request, viewer: Viewer) -> web.Response:
        if not viewer.operates:
            raise NoSuchPage("the routers are the operators' to look at")
        return await self.html("nodes.html", viewer, nodes=await self._nodes.all())
