"""Nimbus keeps the contract, on a Nimbus of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiohttp import web
from torpor_nimbus import Nimbus

from torpor_provisioner import registry
from torpor_provisioner.conformance import CHECKS, Check, Subject
from torpor_provisioner.contract import Arch, Spec
from torpor_provisioner.errors import Denied, Invalid, Unanswered

MOVES = 0.02  # seconds that a machine takes to start or to stop


class Cloud:
    """As much of Nimbus as there is."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, object]] = {}
        self.fails = 0  # the status of every answer, if not 0
        self._moving: set[asyncio.Task[None]] = set()

    @web.middleware
    async def guard(self, request: web.Request, handler) -> web.StreamResponse:
        if self.fails:
            return web.Response(status=self.fails, text="scripted")
        if request.headers.get("Authorization") != "Bearer key":
            return web.Response(status=401, text="no such key")
        return await handler(request)

    async def listed(self, request: web.Request) -> web.Response:
        label = request.query["deployment"]
        found = [m for m in self.machines.values() if m["labels"]["deployment"] == label]
        return web.json_response(found)

    async def made(self, request: web.Request) -> web.Response:
        name, wanted = request.match_info["name"], await request.json()
        if name not in self.machines:
            ip = f"10.0.0.{len(self.machines) + 1}"
            new = {"name": name, "ip": ip, "memory_kept": False, "why": "", "state": "starting"}
            self.machines[name] = wanted | new
            self._move(name, "running")
        return web.json_response({})

    async def changed(self, request: web.Request) -> web.Response:
        name, verb = request.match_info["name"], request.match_info["verb"]
        machine = self.machines.get(name)
        if machine is None or machine["state"] == "deleted":
            return web.Response(status=404, text=f"no machine {name}")
        passing, reached = ("starting", "running") if verb == "start" else ("stopping", "stopped")
        if verb == "hibernate" and not machine["hibernates"]:
            return web.Response(status=422, text="it was not made for it")
        if machine["state"] not in ("running", "stopped", passing):
            return web.Response(status=409, text=f"it is {machine['state']}")
        if machine["state"] not in (passing, reached):
            machine |= {"state": passing, "memory_kept": verb == "hibernate"}
            self._move(name, reached)
        return web.json_response({})

    async def deleted(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.machines:
            return web.Response(status=404, text=f"no machine {name}")
        self.machines[name]["state"] = "deleted"
        return web.json_response({})

    def _move(self, name: str, reached: str) -> None:
        async def move(passing: object) -> None:
            await asyncio.sleep(MOVES)
            if self.machines[name]["state"] == passing:
                self.machines[name]["state"] = reached

        task = asyncio.create_task(move(self.machines[name]["state"]))
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    made = Cloud()
    app = web.Application(middlewares=[made.guard])
    app.router.add_get("/machines", made.listed)
    app.router.add_put("/machines/{name}", made.made)
    app.router.add_post("/machines/{name}/{verb}", made.changed)
    app.router.add_delete("/machines/{name}", made.deleted)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def nodes(cloud, tmp_path) -> AsyncIterator[list[Nimbus]]:
    """Two, made as a router makes them: by the entry point's name."""
    environ = {
        "TORPOR_NIMBUS_URL": cloud.url,
        "TORPOR_NIMBUS_KEY": "key",
        "TORPOR_NIMBUS_DEPLOYMENT": "test",
    }
    made = [registry.create("nimbus", environ, tmp_path) for _ in range(2)]
    yield made
    for each in made:
        await each.aclose()


def spec(*, hibernate: bool) -> Spec:
    return Spec(uuid4(), 1, "acme", "one", Arch.X86_64, hibernate=hibernate)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check, nodes) -> None:
    one, other = nodes
    await check(Subject(one=one, other=other, spec=spec, unknown_ref="torpor-0"))


async def test_what_it_cannot_do_is_told_by_class(nodes, cloud) -> None:
    with pytest.raises(Invalid, match="colour"):
        await nodes[0].launch(
            Spec(uuid4(), 1, "a", "b", Arch.X86_64, settings={"colour": "x"}), "t"
        )
    for status, meant in ((403, Denied), (500, Unanswered)):
        cloud.fails = status
        with pytest.raises(meant, match="scripted"):
            await nodes[0].wake("torpor-0")


def test_what_is_missing_is_named(tmp_path) -> None:
    with pytest.raises(Invalid, match="TORPOR_NIMBUS_KEY"):
        registry.create("nimbus", {"TORPOR_NIMBUS_URL": "http://x"}, tmp_path)
