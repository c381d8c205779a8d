"""Router nodes as an operator runs them: processes over one database, with local satellites.

Orgs, tokens and satellites are put straight into the database, so that a test of the door does
not depend on the control API; the story of the commands has a test of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import grpc
from free_ports import free_ports
from waiting import LONG

from torpor_provisioner.contract import Address, Arch, MachineState, SleepKind, Spec
from torpor_provisioner.local import Call, LocalProvisioner, LocalSettings, read_calls
from torpor_router.probe import answers
from torpor_router.tokens import digest, mint

UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]
REVOKED_WITHIN = 2.0  # seconds until no node opens a stream for a revoked token or certificate
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Satellite:
    """`metadata` is what a client sends to reach it."""

    id: UUID
    full_name: str
    ref: str
    address: Address
    token: str

    @property
    def metadata(self) -> Metadata:
        return (("satellite", self.full_name), ("authorization", f"Bearer {self.token}"))


class Node:
    """One `torpor serve`, and where it listens."""

    def __init__(self, process: Process, address: Address, log: Path) -> None:
        self.process = process
        self.address = address
        self.log = log

    @property
    def target(self) -> str:
        return f"{self.address.host}:{self.address.port}"

    def channel(self) -> grpc.aio.Channel:
        """A channel with connections of its own."""
        return grpc.aio.insecure_channel(self.target, options=UNLIMITED)

    async def kill(self) -> None:
        """As a crash does, without a word to anyone."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 10)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


class Deployment:
    def __init__(self, url: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.url = url
        self.nodes: list[Node] = []
        self._folder = folder
        # Tests may run as root, in folders that no other account may enter
        self._environment = {"TORPOR_LOCAL_ACCOUNTS": "router", **environment}
        self.local = LocalProvisioner(
            folder / "local", LocalSettings.from_environment(self._environment)
        )
        self._tokens: dict[str, str] = {}

    @property
    def calls(self) -> list[Call]:
        """What the machines were really asked to do."""
        return read_calls(self.local.folder)

    def wakes(self, satellite: Satellite) -> int:
        return sum(call.call == "wake" and call.ref == satellite.ref for call in self.calls)

    async def node(
        self, *options: str, at: Address | None = None, tls: ssl.SSLContext | None = None
    ) -> Node:
        """Start one more node; returns once it serves, or, where another does, at once.

        With options that make it speak TLS, `tls` is for seeing whether it serves.
        """
        address = at or Address("127.0.0.1", free_ports())
        log = self._folder / f"node-{len(self.nodes)}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "torpor_router.cli.torpor", "serve"),
                *("--listen", f"{address.host}:{address.port}", "--metrics", "off"),
                *("--data", str(self._folder), "--drain", "1", *options),
                env={**os.environ, **self._environment, "TORPOR_DATABASE_URL": self.url},
                stdout=out,
                stderr=out,
            )
        node = Node(process, address, log)
        self.nodes.append(node)
        async with asyncio.timeout(LONG):
            while not await answers(address, 1.0, tls):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        return node

    async def token(self, org: str) -> str:
        """A token of that org, which is made if need be."""
        if org not in self._tokens:
            token = mint()
            await self.fetch(
                """
                with made as (insert into orgs (name) values ($1) returning id)
                insert into tokens (org_id, name, hash) select id, 'test', $2 from made
                """,
                org,
                digest(token),
            )
            self._tokens[org] = token
        return self._tokens[org]

    async def satellite(
        self,
        full_name: str,
        *,
        worker: str = "default",
        asleep: SleepKind = SleepKind.HIBERNATED,
        sleep_after: float = 3600.0,
        answers_first: bool = True,
    ) -> Satellite:
        """A satellite whose worker has answered once, and which sleeps now."""
        org, name = full_name.split("/")
        token = await self.token(org)
        spec = Spec(uuid4(), 1, org, name, Arch.X86_64, settings={"worker": worker})
        ref = await self.local.launch(spec, f"{spec.satellite_id}/1")
        address = (await self.local.observe([ref]))[ref].address
        assert address is not None
        async with asyncio.timeout(LONG):
            while answers_first and not await answers(address, 1.0):
                await asyncio.sleep(0.05)
            await self._put_to_sleep(ref, asleep)
        mode = "hibernate" if asleep is SleepKind.HIBERNATED else "stop"
        await self.fetch(
            """
            insert into satellites
                (id, org_id, name, provisioner, arch, settings, sleep_mode, sleep_after,
                 state, ref, host, port, sleep_kind)
            select $1, id, $2, 'local', 'x86_64', jsonb_build_object('worker', $3::text), $4, $5,
                   'asleep', $6, $7, $8, $9
              from orgs where name = $10
            """,
            *(spec.satellite_id, name, worker, mode, timedelta(seconds=sleep_after)),
            *(ref, address.host, address.port, str(asleep), org),
        )
        return Satellite(spec.satellite_id, full_name, ref, address, token)

    async def state(self, satellite: Satellite) -> str:
        [row] = await self.fetch("select state from satellites where id = $1", satellite.id)
        return str(row["state"])

    async def becomes(self, satellite: Satellite, state: str) -> None:
        async with asyncio.timeout(LONG):
            while await self.state(satellite) != state:
                await asyncio.sleep(0.05)

    async def transitions(self, satellite: Satellite) -> list[asyncpg.Record]:
        return await self.fetch(
            "select * from transitions where satellite_id = $1 order by id", satellite.id
        )

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def _put_to_sleep(self, ref: str, how: SleepKind) -> None:
        while (await self.local.observe([ref]))[ref].state is MachineState.PENDING:
            await asyncio.sleep(0.05)
        await self.local.sleep(ref, how)
        while (await self.local.observe([ref]))[ref].state is not MachineState.ASLEEP:
            await asyncio.sleep(0.05)

    async def torpor(self, *arguments: str) -> str:
        """Run `torpor` against the deployment's database; what it printed."""
        return await self._run("torpor", *arguments, TORPOR_DATABASE_URL=self.url)

    async def satellite_command(self, *arguments: str, **environment: str) -> str:
        """Run `satellite`; what it printed."""
        return await self._run("satellite", *arguments, **environment)

    async def _run(self, program: str, *arguments: str, **environment: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"torpor_router.cli.{program}", *arguments),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0
        return printed.decode()

    async def aclose(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes))
        for ref in await self.local.owned():
            await self.local.terminate(ref)
        await self.local.aclose()


@asynccontextmanager
async def deployed(
    url: str, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[Deployment]:
    deployment = Deployment(url, folder, environment)
    try:
        yield deployment
    finally:
        await deployment.aclose()
