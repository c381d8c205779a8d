"""Which address is which page, and what they are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from torpor_router.access.directory import Directory
from torpor_router.access.sessions import Sessions
from torpor_router.status.errors import NoSuchPage
from torpor_router.status.guard import Guard
from torpor_router.status.live import Live
from torpor_router.status.pages import Fleet, Pages
from torpor_router.status.rendering import Pages as Templates
from torpor_router.status.signing import LARGEST, Signing
from torpor_router.status.usage_page import UsagePage
from torpor_router.usage.prices import Prices
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.incidents import Incidents
from torpor_statemachine.store.node_list import NodeList
from torpor_statemachine.store.overview import Overview
from torpor_statemachine.store.usage import Usage

_KEPT = "private, max-age=86400"  # the address of a file changes with its content


class App:
    """`web` answers requests; `live` has the pages that are open."""

    def __init__(
        self,
        *,
        database: Database,
        fleet: Fleet,
        directory: Directory,
        sessions: Sessions,
        prices: Prices,
        tls: bool,
        port: int,
    ) -> None:
        templates = self._templates = Templates()
        # a host's cookies are those of all its ports
        cookie = f"torpor_status_{port}"
        guard = Guard(directory, sessions, templates, cookie)
        overview = Overview(database)
        self.live = Live(overview, guard, sessions, templates)
        signing = Signing(directory, sessions, templates, cookie, tls=tls, ended=self.live.ended)
        pages = Pages(
            fleet, overview, Incidents(database), NodeList(database), guard, templates=templates
        )
        usage = UsagePage(pages, Usage(database), prices)
        self.web = web.Application(middlewares=[guard.around], client_max_size=LARGEST)
        router = self.web.router
        for path, page in (
            ("/", pages.fleet),
            ("/satellites/{org}/{name}", pages.satellite),
            ("/wakes", pages.wakes),
            ("/failures", pages.failures),
            ("/codes", pages.codes),
            ("/nodes", pages.nodes),
            ("/usage", usage.page),
        ):
            router.add_get(path, pages.seen_by_viewers(page))
        router.add_get("/live", self.live.stream, allow_head=False)
        router.add_get("/signin", signing.form)
        router.add_post("/signin", signing.sign_in)
        router.add_post("/signout", signing.sign_out)
        router.add_get("/static/{name}", self._file())

    def _file(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            found = self._templates.files.get(request.match_info["name"])
            if found is None:
                raise NoSuchPage(request.path[:80])
            content, kind = found
            headers = {"Cache-Control": _KEPT}
            return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)

        return handler
