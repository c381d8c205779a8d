"""What changes reaches every open page, for one look a second, and nobody else's."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, suppress

import aiohttp
import pytest
from pgkit.wire import Wire
from statuskit.events import listening
from statuskit.fleet import add_node, add_satellite, hold, lease, move, move_all
from statuskit.served import Status, served
from waiting import until

from torpor_router.limits import Limits
from torpor_router.shares import Shares
from torpor_router.status import listener, live
from torpor_statemachine.postgres.pool import Database


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.05)


async def test_a_change_is_told_with_its_counts(status: Status) -> None:
    one = await add_satellite(status.database, "acme/one")
    node = await add_node(status.database)
    async with (
        status.browser(await status.token("acme")) as browser,
        listening(browser) as events,
    ):
        await move(status.database, one, "wake", "waking")
        card = await events.part(f"s-{one}", "waking")
        assert "by token:ci" in card
        await move(status.database, one, "woke", "running")
        assert "<b>1</b> running" in await events.part("counts", "running")
        await hold(status.database, node, [(one, "token:ci", 2, 1.5)])
        assert "2 requests of token:ci" in await events.part("holds", "acme")
        await hold(status.database, node, [])
        assert "hidden" in await events.part("holds", "hidden")
        await lease(status.database, one, node, "user:ann/mac", 3)
        assert "3 streams · user:ann/mac" in await events.part(f"s-{one}", "streams")


async def test_an_org_hears_of_its_own_alone(status: Status) -> None:
    node = await add_node(status.database)
    theirs = await add_satellite(status.database, "globex/secret")
    ours = await add_satellite(status.database, "acme/one")
    async with (
        status.browser(await status.token("acme")) as browser,
        listening(browser) as events,
    ):
        await hold(status.database, node, [(theirs, "token:spy", 1, 1.0)])
        await move(status.database, theirs, "wake", "waking")
        await move(status.database, ours, "wake", "waking")
        heard = ""
        while f"s-{ours}" not in heard:
            heard += str(await events.next())
    assert "globex" not in heard
    assert "spy" not in heard
    assert str(theirs) not in heard


async def test_many_pages_are_one_look(status: Status) -> None:
    token = await status.token()
    one = await add_satellite(status.database, "acme/one")
    async with AsyncExitStack() as stack:
        pages = []
        for _ in range(10):
            browser = await stack.enter_async_context(status.browser(token))
            pages.append(await stack.enter_async_context(listening(browser)))
        looks, queries = status.app.live.looks, status.database.queries
        await until(lambda: status.app.live.looks >= looks + 20)
        asked = status.database.queries - queries
        done = status.app.live.looks - looks
        assert asked <= done + done // 10 + 2, "one a look, and one in ten for the sessions"
        await move(status.database, one, "wake", "waking")
        for events in pages:
            await events.part(f"s-{one}", "waking")
        assert all(events.octets < 20_000 for events in pages)
    await until(lambda: not len(status.app.live))


async def test_nobody_looks_and_nothing_is_asked(status: Status) -> None:
    async with status.browser(await status.token()) as browser:
        async with listening(browser):
            await until(lambda: status.app.live.looks >= 2)
        await until(lambda: not len(status.app.live))
        await until(lambda: status.app.live.idle)
        looks, queries = status.app.live.looks, status.database.queries
        await asyncio.sleep(0.3)  # several looks' time
        assert (status.app.live.looks, status.database.queries) == (looks, queries)


async def test_a_page_that_does_not_read_is_dropped(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_UNREAD", 2)
    monkeypatch.setattr(live, "_BUFFER", 1_024)
    for number in range(40):
        await add_satellite(status.database, f"acme/s{number}")
    async with (
        status.browser(await status.token()) as browser,
        listening(browser) as events,
    ):
        [cookie] = list(browser.cookie_jar)
        host, port = status.url.removeprefix("http://").split(":")
        silent = socket.socket()
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        silent.connect((host, int(port)))
        asked = f"GET /live HTTP/1.1\r\nHost: x\r\nCookie: {cookie.key}={cookie.value}\r\n\r\n"
        silent.sendall(asked.encode())
        await until(lambda: len(status.app.live) == 2)

        async def dropped() -> bool:
            await move_all(status.database)
            await events.part("counts")
            return len(status.app.live) == 1

        await until(dropped)
        silent.close()


async def test_so_many_pages_and_no_more(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status.app.live, "_shares", Shares(4))
    async with status.browser(await status.token("acme")) as browser, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(listening(browser))
        async with browser.get("/live") as answer:
            assert answer.status == 429
            assert (await answer.text()).startswith("TPR-5504 ")
        async with status.browser(await status.token("globex")) as other, listening(other):
            pass
    await until(lambda: not len(status.app.live))


async def test_a_revoked_token_ends_its_pages(status: Status) -> None:
    token = await status.token("acme", "laptop")
    async with status.browser(token) as browser, listening(browser) as events:
        await status.store.revoke_token("acme", "laptop")
        while (told := await events.next()) != {"ended": True}:
            assert told is not None
        assert await events.next() is None


@pytest.mark.parametrize("here", [True, False])
async def test_signing_out_ends_pages_here_and_elsewhere(status: Status, here: bool) -> None:
    async with status.browser(await status.token()) as browser, listening(browser) as events:
        if here:
            async with browser.post("/signout"):
                pass
        else:
            await status.database.execute("delete from status_sessions")
        while (told := await events.next()) != {"ended": True}:
            assert told is not None


async def test_an_outage_is_told_and_its_end(wire: Wire) -> None:
    async with Database(wire.url) as database, served(database) as status:
        one = await add_satellite(database, "acme/one")
        async with status.browser(await status.token()) as browser, listening(browser) as events:
            await until(lambda: status.app.live.looks >= 2)
            await wire.cut()
            while (await events.next()) != {"away": True}:
                pass
            await wire.mend()
            while (await events.next()) != {"away": False}:
                pass
            await move(database, one, "wake", "waking")
            await events.part(f"s-{one}", "waking")


async def test_the_end_of_the_router_ends_the_pages(status: Status) -> None:
    async with status.browser(await status.token()) as browser, listening(browser) as events:
        await status.listener.aclose()
        while await events.next() is not None:
            pass


# --- who only connects


async def test_a_connection_that_asks_nothing_is_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_ASK", 0.2)
    async with served(database) as status:
        host, port = status.url.removeprefix("http://").split(":")
        for octets in (b"", b"GET / HTTP/1.1\r\nHost:"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(octets)
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()


async def test_a_stranger_asks_once_a_connection(status: Status) -> None:
    token = await status.token()
    async with status.browser() as browser:
        for path in ("/signin", "/static/status.js", "/nothing", "/live"):
            async with browser.get(path) as answer:
                assert answer.headers["Connection"] == "close", path
    async with status.browser(token) as browser, browser.get("/codes") as answer:
        assert answer.status == 200
        assert answer.headers.get("Connection") != "close"


async def test_an_address_has_so_many_connections(database: Database) -> None:
    limits = Limits(strangers_per_address=3)
    async with served(database, limits=limits) as status:
        token = await status.token()
        host, port = status.url.removeprefix("http://").split(":")
        async with status.browser(token) as browser:  # who is known does not count
            strangers = [await asyncio.open_connection(host, int(port)) for _ in range(5)]
            ended = 0
            for reader, _ in strangers[3:]:
                try:
                    ended += await reader.read() == b""
                except ConnectionError:
                    ended += 1
            assert ended == 2
            async with browser.get("/") as answer:
                assert answer.status == 200
            for _, writer in strangers:
                writer.close()


async def test_another_language_is_no_harm(status: Status) -> None:
    host, port = status.url.removeprefix("http://").split(":")
    for octets in (
        b"\x16\x03\x01" + b"\0" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"x\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(octets)
        assert (await reader.read(12)) in (b"HTTP/1.0 400", b"HTTP/1.1 400"), octets
        writer.close()
    async with aiohttp.ClientSession() as client, client.get(f"{status.url}/signin") as answer:
        assert answer.status == 200
