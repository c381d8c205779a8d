"""A router serves its status page: without TLS on loopback alone, with the door's elsewhere."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from waiting import LONG

from torpor_router.access.roles import Role
from torpor_router.access.store import Store
from torpor_statemachine.postgres.pool import Database


@asynccontextmanager
async def router(url: str, data: Path, *options: str) -> AsyncIterator[str]:
    """One that serves; where its status page is."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TORPOR_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torpor_router.cli.torpor", "serve", "--metrics", "off"),
        *("--listen", "127.0.0.1:0", "--data", str(data), "--drain", "0", *options),
        env={**kept, "TORPOR_DATABASE_URL": url, "TORPOR_LOCAL_ACCOUNTS": "router"},
        stdout=PIPE,
        stderr=STDOUT,
    )
    assert process.stdout is not None
    lines = []
    try:
        async with asyncio.timeout(LONG):
            while line := (await process.stdout.readline()).decode():
                lines.append(line)
                if found := re.search(r"the status page is at (\S+)/", line):
                    yield found[1]
                    break
            else:
                pytest.fail("".join(lines))
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_router_shows_its_fleet(
    database: Database, database_url: str, tmp_path: Path, tls: bool
) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    pair.private_key_pem.write_to_path(tmp_path / "key")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    files = ("--tls-cert", str(tmp_path / "cert"), "--tls-key", str(tmp_path / "key"))
    options = (*files, "--status", "0.0.0.0:0") if tls else ("--status", "127.0.0.1:0")
    believes = ssl.create_default_context()
    believes.set_alpn_protocols(["h2", "http/1.1"])  # as browsers do
    authority.configure_trust(believes)
    _, token = await Store(database).create_token("", "ops", role=Role.OPERATOR)
    async with router(database_url, tmp_path, *options) as shown:
        assert shown.startswith("https://0.0.0.0:" if tls else "http://127.0.0.1:")
        url = shown.replace("0.0.0.0", "127.0.0.1")
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser,
            browser.post(
                f"{url}/signin", data={"token": token}, ssl=believes, allow_redirects=False
            ) as answer,
        ):
            assert answer.status == 303
            assert ("Secure" in answer.headers["Set-Cookie"]) == tls
            async with browser.get(f"{url}/nodes", ssl=believes) as page:
                assert page.status == 200
                assert "serving" in await page.text()
