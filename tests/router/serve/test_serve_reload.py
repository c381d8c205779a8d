"""SIGHUP: the TLS files are read again at once, and no process ends of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trustme
from waiting import LONG


class Router:
    """One `torpor serve`, and what it has said."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.said = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.said += line.decode()

    async def until(self, pattern: str, times: int = 1) -> list[str]:
        async with asyncio.timeout(LONG):
            while len(found := re.findall(pattern, self.said)) < times:
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def serving(url: str, data: Path, *options: str) -> AsyncIterator[Router]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TORPOR_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torpor_router.cli.torpor", "serve", "--metrics", "off"),
        *("--listen", "127.0.0.1:0", "--data", str(data), "--drain", "0", *options),
        env={**kept, "TORPOR_DATABASE_URL": url, "TORPOR_LOCAL_ACCOUNTS": "router"},
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        yield Router(process)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), LONG)


def issue(ca: trustme.CA, folder: Path) -> tuple[str, str]:
    """The door's certificate and key, written anew; `torpor serve`'s two files."""
    leaf = ca.issue_cert("localhost")
    leaf.private_key_pem.write_to_path(str(folder / "door.key"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "door.pem"))
    return str(folder / "door.pem"), str(folder / "door.key")


async def shown(port: int) -> bytes:
    """The certificate of the door."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


async def test_new_certificates_at_once(database_url: str, tmp_path: Path) -> None:
    ca = trustme.CA()
    certificate, key = issue(ca, tmp_path)
    tls = ("--tls-cert", certificate, "--tls-key", key)
    async with serving(database_url, tmp_path, *tls) as router:
        [port] = await router.until(r"listens on 127\.0\.0\.1:(\d+), TLS")
        before = await shown(int(port))
        issue(ca, tmp_path)
        router.process.send_signal(signal.SIGHUP)
        await router.until(r"reloading\n.*TLS files reloaded: \S+/door\.pem, \S+/door\.key")
        assert await shown(int(port)) != before
        Path(key).write_text("half writ")
        router.process.send_signal(signal.SIGHUP)
        await router.until("WARNING .*TLS files not reloaded")
        await shown(int(port))
        assert router.process.returncode is None


async def test_every_worker_is_told(database_url: str, tmp_path: Path) -> None:
    certificate, key = issue(trustme.CA(), tmp_path)
    tls = ("--tls-cert", certificate, "--tls-key", key)
    async with serving(database_url, tmp_path, "--processes", "2", *tls) as router:
        await router.until("listens on")
        router.process.send_signal(signal.SIGHUP)  # perhaps before the other one is ready
        pids = await router.until(r"\(pid (\d+)\) listens on", times=2)
        await router.until("TLS files reloaded")
        before = router.said.count("TLS files reloaded")
        router.process.send_signal(signal.SIGHUP)
        # nothing has changed: only who was asked reads again
        await router.until("TLS files reloaded", times=before + 2)
        os.kill(int(pids[0]), signal.SIGHUP)  # an operator's killall
        await router.until("TLS files reloaded", times=before + 3)
        assert "starting it again" not in router.said
        assert router.process.returncode is None


async def test_without_tls_there_is_nothing_to_do(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, tmp_path) as router:
        await router.until("listens on")
        router.process.send_signal(signal.SIGHUP)
        await router.until("there are no TLS files to read again")
        assert router.process.returncode is None
