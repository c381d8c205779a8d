"""The status page in Debian's Chromium: one browser for all of it. Pictures are left in
bench-results/status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from browserkit.chromium import Browser, Page, chromium
from e2ekit.real_tools import tool
from statuskit.fleet import Made, furnish, move
from statuskit.served import Status, served

from torpor_router.status import live
from torpor_router.usage.prices import read
from torpor_statemachine.postgres.pool import Database

ROOT = Path(__file__).parents[3]
AXE = ROOT / ".tools/axe/node_modules/axe-core/axe.min.js"
PICTURES = ROOT / "bench-results/status"
PRICES = read('currency = "USD"\n[ec2.default]\nawake = 0.357\nasleep = 0.022\n')
PATHS = (
    *("/", "/satellites/umbrella/android", "/wakes", "/failures", "/usage", "/nodes", "/codes"),
    *("/?state=failed", "/nothing"),
)
PHONE, DESKTOP = (390, 844), (1280, 900)


@pytest.mark.timeout(400)  # a browser, beside all that tests do
async def test_people_can_use_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.2)
    PICTURES.mkdir(parents=True, exist_ok=True)
    made = await furnish(database)
    async with served(database, prices=PRICES) as status, chromium() as browser:
        await by_keyboard_alone(browser, status)
        await on_phones_and_desktops(browser, status)
        await it_lives(browser, status, made)
        await without_javascript(browser, status)


async def signed_in(page: Page, status: Status, size: tuple[int, int] = DESKTOP) -> None:
    await page.look(width=size[0], height=size[1])
    await page.go(f"{status.url}/signin")
    await page.write(await status.token())  # the field has the focus
    before = page.loads
    await page.press("Enter")
    await page.loaded(before)


async def by_keyboard_alone(browser: Browser, status: Status) -> None:
    async with browser.open() as page:
        await signed_in(page, status)
        assert await page.value("location.pathname") == "/"
        stops = []
        for _ in range(14):
            await page.press("Tab")
            stops.append(
                await page.value(
                    "(e => (e.textContent.trim() || e.name || '').replace(/\\s+/g, ' '))"
                    "(document.activeElement)"
                )
            )
        assert stops[0] == "Skip to the content"
        assert stops[1:8] == [
            *("Torpor", "Fleet", "Wakes", "Failures", "Usage", "Nodes", "Sign out"),
        ]
        assert stops[8:10] == ["40 in all", "6 running"]
        seen = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        assert await page.value(seen), "who uses the keyboard must see where they are"
        await page.value("document.querySelector('[name=q]').focus()")
        await page.write("acme/i")
        before = page.loads
        await page.press("Enter")
        await page.loaded(before)
        assert await page.value("document.querySelectorAll('.card').length") == 2
        assert page.complaints == []


async def on_phones_and_desktops(browser: Browser, status: Status) -> None:
    axe = tool(AXE).read_text()
    async with browser.open() as page:
        await signed_in(page, status)
        for size, dark in ((DESKTOP, False), (PHONE, True)):
            await page.look(width=size[0], height=size[1], dark=dark)
            for path in PATHS:
                await page.go(status.url + path)
                where = f"{path} at {size[0]}{' dark' if dark else ''}"
                assert await page.value("document.documentElement.scrollWidth") <= size[0], where
                if not dark or path in PATHS[:2]:
                    assert await _complaints_of_axe(page, axe) == [], where
                await _keep(page, path, size, dark=dark)
        async with browser.open() as stranger:
            await stranger.look(width=PHONE[0], height=PHONE[1])
            await stranger.go(f"{status.url}/signin")
            assert await _complaints_of_axe(stranger, axe) == []
            await _keep(stranger, "/signin", PHONE, dark=False)
        unexpected = [each for each in page.complaints if "404" not in each]
        assert unexpected == []


async def _complaints_of_axe(page: Page, axe: str) -> Sequence[str]:
    await page.value(f"{axe}; null")
    found = await page.value(
        "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify("
        "r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html).slice(0, 3)])))"
    )
    return [str(each) for each in json.loads(found) if each[0] in ("serious", "critical")]


async def _keep(page: Page, path: str, size: tuple[int, int], *, dark: bool) -> None:
    name = "".join(each if each.isalnum() else "-" for each in path.strip("/")) or "fleet"
    scheme = "dark" if dark else "light"
    (PICTURES / f"{name}-{size[0]}-{scheme}.png").write_bytes(await page.picture())


async def it_lives(browser: Browser, status: Status, made: Made) -> None:
    woken = made.satellites["acme/api"]
    async with browser.open() as page, browser.open() as other:
        for each, path in ((page, "/"), (other, "/satellites/acme/api")):
            await signed_in(each, status)
            await each.go(status.url + path)
            await each.until("document.getElementById('live').dataset.kind === 'on'")
        await page.value(f"document.querySelector('#s-{woken} a').focus()")
        await move(status.database, woken, "wake", "waking")
        await page.until(f"document.querySelector('#s-{woken} .pill').textContent === 'waking'")
        await page.until("document.querySelector('.chips .st-waking').textContent.includes('3')")
        assert await page.value(f"document.activeElement.closest('.card').id === 's-{woken}'")
        await other.until("document.querySelector('h1 + .pill').textContent.trim() === 'waking'")
        assert page.complaints == other.complaints == []


async def without_javascript(browser: Browser, status: Status) -> None:
    async with browser.open(script=False) as page:
        await signed_in(page, status)
        await page.go(f"{status.url}/satellites/acme/ios")
        root = (await page.call("DOM.getDocument", depth=0))["root"]["nodeId"]
        html = (await page.call("DOM.getOuterHTML", nodeId=root))["outerHTML"]
        assert "acme/ios is running" in html
        await page.go(f"{status.url}/?q=globex")
        root = (await page.call("DOM.getDocument", depth=0))["root"]["nodeId"]
        html = (await page.call("DOM.getOuterHTML", nodeId=root))["outerHTML"]
        assert html.count('class="card ') == 10
        assert "as of " in html
