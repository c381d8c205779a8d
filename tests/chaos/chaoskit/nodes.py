"""The nodes: `torpor serve`, several times over, killed, paused and misled about the time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

from chaoskit.clocks import Clock
from chaoskit.clouds import Cloud
from chaoskit.database import Way
from chaoskit.records import Life, Records, Span
from torpor_provisioner.contract import Address
from torpor_router.probe import answers

HERE = Path(__file__).parents[1]
SKEWS = (0, 47, -86_400, 3 * 3_600)  # seconds, by node: how wrong their clocks are from the first


class Node:
    """One after another process on the same port."""

    def __init__(self, number: int, way: Way, folder: Path, cloud: Cloud, records: Records) -> None:
        self.number = number
        self.address = Address("127.0.0.1", _free_port())
        self.log = folder / f"node-{number}.log"
        self._folder = folder
        self.way = way
        self._cloud = cloud
        self._records = records
        self._process: Process | None = None
        self._life: Life | None = None
        self.clock = Clock(folder / f"clock-{number}", SKEWS[number % len(SKEWS)])
        self._rest = 0.2
        self._lives = 0
        self._ended = False

    def __repr__(self) -> str:
        return f"<Node {self.number} on {self.target}>"

    @property
    def target(self) -> str:
        return f"{self.address.host}:{self.address.port}"

    async def keep_alive(self) -> None:
        """As a service manager does, until cancelled."""
        try:
            while not self._ended:
                await self._run()
                await asyncio.sleep(self._rest)
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _run(self) -> None:
        self._lives += 1
        name = f"node-{self.number}.{self._lives}"
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "torpor_router.cli.torpor", "serve"),
                *("--listen", self.target, "--metrics", "off", "--provisioner"),
                self._cloud.provisioner,
                *("--data", str(self._folder), "--drain", "5"),
                *self.way.options,
                env=self._environment(name),
                stdout=out,
                stderr=out,
            )
        life = self._life = Life(self.number, self._process.pid, time.monotonic(), name=name)
        self._records.lives.append(life)
        serving = asyncio.create_task(self._until_it_serves(life))
        try:
            await self._process.wait()
        finally:
            serving.cancel()
            life.ended = time.monotonic()
            for pause in (*life.pauses, *life.cuts):
                pause.ended = min(pause.ended, life.ended)

    async def _until_it_serves(self, life: Life) -> None:
        while not await answers(self.address, 1.0):
            await asyncio.sleep(0.1)
        life.served = time.monotonic()

    async def until_it_serves(self) -> None:
        while self._life is None or self._life.served is None or self._life.ended is not None:
            await asyncio.sleep(0.05)

    # --- faults

    def kill(self, rest: float) -> None:
        """Without a word to anyone; it comes back after `rest` seconds."""
        if self._alive():
            assert self._process is not None
            assert self._life is not None
            self._rest = rest
            self._life.killed = True
            self._process.kill()

    async def pause(self, seconds: float) -> None:
        """As a frozen VM or a long stop of the world does."""
        if not self._alive():
            return
        assert self._process is not None
        assert self._life is not None
        process, life, span = self._process, self._life, Span(time.monotonic())
        life.pauses.append(span)
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            now = time.monotonic()
            span.ended = min(span.ended, now)
            # One pause may begin within another, and lasts on
            if process.returncode is None and not life.paused(now, now + 1.0):
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)

    async def lose_link(self, seconds: float) -> None:
        """Nothing passes between it and Postgres, and neither is told."""
        wire = self.way.wire
        assert wire is not None
        span = Span(time.monotonic())
        if self._life is not None:
            self._life.cuts.append(span)
        wire.silence()
        try:
            await asyncio.sleep(seconds)
        finally:
            span.ended = min(span.ended, time.monotonic())
            await wire.mend()

    async def vanish(self, rest: float, unheard: float) -> None:
        """With its host: Postgres hears no end of its sessions for `unheard` seconds."""
        wire = self.way.wire
        assert wire is not None
        end = wire.forsake()
        self.kill(rest)
        try:
            await asyncio.sleep(unheard)
        finally:
            end()

    async def stop(self) -> None:
        """In order, at the end of a run."""
        self._ended = True
        if self._alive():
            assert self._process is not None
            assert self._life is not None
            self._life.killed = True
            self._process.terminate()

    def _alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _environment(self, name: str) -> dict[str, str]:
        path = os.pathsep.join(
            filter(None, (os.environ.get("PYTHONPATH"), str(self._folder), str(HERE)))
        )
        return {
            **os.environ,
            **self.clock.environment(),
            "PYTHONPATH": path,
            "TORPOR_DATABASE_URL": self.way.url,
            **self._cloud.environ(name),
        }


def _free_port() -> int:
    """Outside the kernel's own range, so that no outgoing connection takes it meanwhile; and none
    that another run's node has, even while that is being started anew."""
    for port in range(*_PORTS):
        with suppress(OSError):
            lock = os.open(f"/tmp/torpor-chaos-{port}.lock", os.O_CREAT | os.O_RDWR, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                os.close(lock)
            else:
                return port  # its lock ends with this process
    raise RuntimeError("no free port")


_PORTS = 21_000, 32_000
