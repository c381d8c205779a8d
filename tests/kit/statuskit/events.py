"""What a page hears, read as a browser does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from waiting import LONG


class Events:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.octets = 0

    async def next(self) -> dict[str, Any] | None:
        """What is told next; None at the end."""
        async with asyncio.timeout(LONG):
            while line := await self._answer.content.readline():
                self.octets += len(line)
                if line.startswith(b"data: "):
                    told: dict[str, Any] = json.loads(line[6:])
                    return told
        return None

    async def part(self, name: str, holding: str = "") -> str:
        """The next HTML for the element of that id, which has `holding` in it."""
        while (told := await self.next()) is not None:
            html: str = told.get("parts", {}).get(name, "")
            if html and holding in html:
                return html
        raise AssertionError(f"nothing was told of {name}")


@asynccontextmanager
async def listening(browser: aiohttp.ClientSession) -> AsyncIterator[Events]:
    async with browser.get("/live") as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        assert await answer.content.readline() == b"retry: 3000\n"
        yield Events(answer)
