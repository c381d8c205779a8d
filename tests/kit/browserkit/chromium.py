"""Debian's Chromium without a window, driven by its own protocol (CDP) over one WebSocket.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from waiting import LONG, until

PROGRAM = "chromium"
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--no-first-run", "--no-default-browser-check", "--mute-audio"),
    *("--hide-scrollbars", "--no-proxy-server", "--remote-debugging-port=0", "about:blank"),
)


class Failed(Exception):
    """The browser could not do it."""


class Browser:
    """One Chromium. `open` gives a page that shares nothing with others."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._reading = asyncio.create_task(self._read())

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def call(self, method: str, session: str | None = None, **arguments: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": arguments}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        async with asyncio.timeout(LONG):
            told = await answer
        if "error" in told:
            raise Failed(f"{method}: {told['error']}")
        return told["result"]

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif (page := self._pages.get(told.get("sessionId", ""))) is not None:
                page.heard(told["method"], told["params"])

    @asynccontextmanager
    async def open(self, *, script: bool = True) -> AsyncIterator[Page]:
        """With cookies of its own; without `script`, one that runs none."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        if not script:
            await page.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield page
        finally:
            del self._pages[attached["sessionId"]]
            await self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """`complaints` are what its console and its policies have said."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = 0
        self.complaints: list[str] = []

    def heard(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded += 1
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(str(told["args"]))

    async def call(self, method: str, **arguments: Any) -> Any:
        return await self._browser.call(method, self._session, **arguments)

    async def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """Be so large, in CSS pixels, and light or dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def go(self, url: str) -> None:
        before = self._loaded
        await self.call("Page.navigate", url=url)
        await self.loaded(before)

    async def loaded(self, before: int) -> None:
        await until(lambda: self._loaded > before, "the page has not been loaded")

    @property
    def loads(self) -> int:
        return self._loaded

    async def value(self, expression: str) -> Any:
        """Of JavaScript, awaited if it is a promise."""
        told = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in told:
            raise Failed(f"{expression[:100]}: {told['exceptionDetails']}")
        return told["result"].get("value")

    async def until(self, expression: str) -> None:
        async def met() -> bool:
            return bool(await self.value(expression))

        await until(met, expression)

    async def press(self, key: str) -> None:
        """One key: "Tab", "Enter"."""
        codes = {"Tab": 9, "Enter": 13}
        text = {"text": "\r"} if key == "Enter" else {}
        told = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    async def write(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of what is seen, or of the `whole` page."""
        told = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])


def found() -> str:
    """The program, or the end of this test: skipped here, failed where nothing may be missing."""
    program = shutil.which(PROGRAM)
    if program is not None:
        return program
    missing = f"{PROGRAM} is not installed (Debian: {PROGRAM})"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    program = found()
    with tempfile.TemporaryDirectory(prefix="torpor-chromium-", ignore_cleanup_errors=True) as home:
        process = await asyncio.create_subprocess_exec(
            *(program, f"--user-data-dir={home}", *_OPTIONS),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env={**os.environ, "HOME": home},
            start_new_session=True,
        )
        try:
            async with _connected(Path(home) / "DevToolsActivePort", process) as browser:
                yield browser
        finally:
            if process.returncode is None:
                os.killpg(process.pid, 9)
            await process.wait()


@asynccontextmanager
async def _connected(file: Path, process: asyncio.subprocess.Process) -> AsyncIterator[Browser]:
    def told() -> bool:
        if process.returncode is not None:
            pytest.fail(f"chromium ended with {process.returncode}")
        return file.exists() and "/devtools/" in file.read_text()

    await until(told, "chromium does not say where it listens")
    port, path = file.read_text().split()
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"http://127.0.0.1:{port}{path}", max_msg_size=0) as socket,
    ):
        browser = Browser(socket)
        try:
            yield browser
        finally:
            await browser.aclose()
