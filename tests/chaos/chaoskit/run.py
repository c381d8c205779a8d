"""One run: everything is started, broken for a while, left in peace, and looked at."""

from __future__ import annotations

import asyncio
import faulthandler
import hashlib
import pickle
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from uuid import UUID

from chaoskit.clients import Client
from chaoskit.clocks import faketime
from chaoskit.cloud import ChaosCloud
from chaoskit.clouds import Cloud, Machine
from chaoskit.database import Postgres
from chaoskit.ec2 import FaithfulCloud
from chaoskit.faults import Fault, Form, Kind, schedule
from chaoskit.history import told
from chaoskit.nodes import Node
from chaoskit.records import Records, Span
from chaoskit.vm import VmCloud

SETTLED = 120.0  # seconds in which everything must be well again once the faults are over
UNHEARD = 20.0  # seconds until Postgres hears that a host is gone, if it does not find out
STALL = 2.0  # seconds for which this process may be busy with one thing
ORG = "chaos"
CLOUDS: dict[str, Callable[[int, Path, Records], Cloud]] = {
    "chaos": ChaosCloud,
    "ec2": FaithfulCloud,
    "vm": VmCloud,
}


class Run:
    def __init__(self, seed: int, form: Form, folder: Path, provisioner: str) -> None:
        self.seed = seed
        self.provisioner = provisioner
        self.form = form
        self.folder = folder
        self.records = Records()
        self.nodes: list[Node] = []
        self.clients: list[Client] = []
        self.began = 0.0
        self._caused: list[str] = []
        self.enough = False  # no more faults
        self._background: set[asyncio.Task[None]] = set()

    async def __call__(self) -> Records:
        watch = asyncio.create_task(self._watch_ourselves())
        async with AsyncExitStack() as stack:
            stack.callback(faulthandler.cancel_dump_traceback_later)
            stack.push_async_callback(_end, [watch])
            postgres = await stack.enter_async_context(
                Postgres.running(self.folder / "postgres", self.seed, self.records)
            )
            cloud = await stack.enter_async_context(
                CLOUDS[self.provisioner](self.seed, self.folder, self.records)
            )
            await cloud.make(self.form.satellites, ORG)
            token = await self._populate(postgres, cloud)
            keepers = self._start_nodes(postgres, cloud)
            stack.push_async_callback(_end, keepers)
            await asyncio.gather(*(node.until_it_serves() for node in self.nodes))
            say(f"{len(self.nodes)} nodes serve {len(cloud.machines)} satellites")
            self._make_clients(cloud, token)
            stack.push_async_callback(self._close_clients)
            troubling = asyncio.create_task(cloud.trouble())
            stack.push_async_callback(_end, [troubling])
            await self._break_things(postgres, cloud)
            if troubling.done():
                troubling.result()
            await _end([troubling])
            await cloud.calm()
            await self._settle(postgres, cloud)
            await asyncio.gather(*(node.stop() for node in self.nodes))
            await asyncio.wait(keepers, timeout=15)
            await cloud.tell()
            await self._read_history(postgres, cloud)
            self.records.complaints = list(_complaints(self.folder, cloud.made_up))
        self._write_timeline()
        return self.records

    async def _watch_ourselves(self) -> None:
        """Clients that stand still say nothing of the nodes; and it must not be our own doing."""
        while True:
            before = time.monotonic()
            faulthandler.dump_traceback_later(STALL)
            await asyncio.sleep(STALL / 4)
            if (now := time.monotonic()) - before > STALL:
                self.records.stalls.append(Span(before, now))

    # --- what there is

    async def _populate(self, postgres: Postgres, cloud: Cloud) -> str:
        """Satellites that sleep, half of them able to hibernate; the token that reaches them."""
        token = secrets.token_urlsafe(32)
        [org] = await postgres.fetch("insert into orgs (name) values ($1) returning id", ORG)
        await postgres.fetch(
            "insert into tokens (org_id, name, hash) values ($1, 'chaos', $2)",
            org["id"],
            hashlib.sha256(token.encode()).digest(),
        )
        for machine in cloud.machines:
            await postgres.fetch(
                """
                insert into satellites (id, org_id, name, provisioner, arch, sleep_mode,
                    sleep_after, state, ref, host, port, sleep_kind)
                values ($1, $2, $3, $4, $5, 'auto',
                    interval '1 second', 'asleep', $6, $7, $8, 'stopped')
                """,
                *(machine.satellite_id, org["id"], machine.name, cloud.provisioner, machine.arch),
                *(machine.ref, *machine.address),
            )
        return token

    def _start_nodes(self, postgres: Postgres, cloud: Cloud) -> list[asyncio.Task[None]]:
        if faketime() is None:
            say("libfaketime is not installed: all clocks are right in this run")
        if len(postgres.ways) < 3:
            say("Debian's Postgres or PgBouncer is not installed: no failovers in this run")
        ways = postgres.ways
        self.nodes = [
            Node(number, ways[number % len(ways)], self.folder, cloud, self.records)
            for number in range(self.form.nodes)
        ]
        return [asyncio.create_task(node.keep_alive()) for node in self.nodes]

    def _make_clients(self, cloud: Cloud, token: str) -> None:
        """More than satellites: some are asked for by several, through different nodes."""
        machines = cloud.machines
        for number in range(self.form.clients):
            self.clients.append(self._client(machines[number % len(machines)], token, number))

    def _client(self, machine: Machine, token: str, number: int) -> Client:
        metadata = (
            ("satellite", f"{ORG}/{machine.name}"),
            ("authorization", f"Bearer {token}"),
        )
        rng = random.Random(f"{self.seed}/client/{number}")
        return Client(machine.name, metadata, self.nodes, rng, self.records, self.form.budget)

    async def _close_clients(self) -> None:
        await asyncio.gather(*(client.aclose() for client in self.clients))

    # --- what happens to it

    async def _break_things(self, postgres: Postgres, cloud: Cloud) -> None:
        stop = asyncio.Event()
        building = [asyncio.create_task(client.build_for_ever(stop)) for client in self.clients]
        self.began = time.monotonic()
        until = self.began + self.form.minutes * 60
        try:
            for fault in schedule(self.seed, self.form):
                await self._wait_until(min(self.began + fault.at, until), cloud)
                if self.enough or time.monotonic() >= until:
                    break
                self._cause(fault, postgres)
            say(f"{await cloud.wakes()} wakes; the faults are over")
            await self._wait_for_faults()
        finally:
            stop.set()
            await asyncio.gather(*building)

    async def _wait_until(self, moment: float, cloud: Cloud) -> None:
        while (left := moment - time.monotonic()) > 0 and not self.enough:
            await asyncio.sleep(min(left, 1.0))
            self.enough |= await cloud.wakes() >= self.form.wakes

    def _cause(self, fault: Fault, postgres: Postgres) -> None:
        self.records.faults[fault.kind] += 1
        self._caused.append(f"{time.monotonic():.2f} {fault}")
        node = self.nodes[fault.node]
        match fault.kind:
            case Kind.NODE_PAUSE:
                doing = node.pause(fault.lasts)
            case Kind.NODE_KILL:
                node.kill(fault.lasts)
                return
            case Kind.CLOCK_STEP:
                node.clock.set(fault.by)
                return
            case Kind.DATABASE_CLOCK:
                postgres.set_clock(fault.by)
                return
            case Kind.LINK_CUT:
                doing = node.lose_link(fault.lasts)
            case Kind.HOST_VANISHED:
                doing = node.vanish(fault.lasts, UNHEARD)
            case _:
                doing = _to_postgres(fault, postgres)
        task = asyncio.create_task(doing)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _wait_for_faults(self) -> None:
        if self._background:
            await asyncio.gather(*self._background)

    # --- and whether it is well again

    async def _settle(self, postgres: Postgres, cloud: Cloud) -> None:
        """Every satellite is asked for once more, and every claim must end."""
        await asyncio.gather(*(node.until_it_serves() for node in self.nodes))
        await postgres.until_it_answers()
        before = len(self.records.requests)
        one_each = {client.ref: client for client in self.clients}
        await asyncio.gather(*(client.unary(0.0) for client in one_each.values()))
        for request in self.records.requests[before:]:
            if not request.done:
                self.records.unreached.append(request.ref)
        until = time.monotonic() + SETTLED
        names = {machine.satellite_id: machine.name for machine in cloud.machines}
        while claimed := await self._claimed(postgres, names):
            if time.monotonic() > until:
                self.records.claimed = claimed
                return
            await asyncio.sleep(0.5)

    async def _claimed(self, postgres: Postgres, names: dict[UUID, str]) -> list[str]:
        found = await postgres.fetch("select id from satellites where claimed_by is not null")
        return [names[row["id"]] for row in found]

    async def _read_history(self, postgres: Postgres, cloud: Cloud) -> None:
        names = {machine.satellite_id: machine.name for machine in cloud.machines}
        kept = await postgres.fetch("select id, satellite_id, event from transitions")
        self.records.history = told(map(dict, kept), self.records.lost, names)
        true = await cloud.states()
        for row in await postgres.fetch("select id, state from satellites"):
            name = names[row["id"]]
            self.records.ends[name] = (row["state"], true[name])

    def _write_timeline(self) -> None:
        """For whoever looks into a violation: the faults, by the clock of the records."""
        lines = [*self._caused]
        lines += [f"{span.began:.2f} to {span.ended:.2f} Postgres" for span in self.records.outages]
        lines += [f"{each.began:.2f} to {each.ended:.2f} stall" for each in self.records.stalls]
        for each in self.records.lost:
            lines.append(f"{each.began:.2f} to {each.ended:.2f} lost: {each}")
        for life in self.records.lives:
            lines.append(f"{life.began:.2f} to {life.ended or 0:.2f} {life.node} is {life.pid}")
            lines += [
                f"{each.began:.2f} to {each.ended:.2f} {life.node} paused" for each in life.pauses
            ]
        (self.folder / "records").write_bytes(pickle.dumps(self.records))
        (self.folder / "timeline").write_text("\n".join(sorted(lines)) + "\n")


def _to_postgres(fault: Fault, postgres: Postgres) -> Coroutine[None, None, None]:
    of_kind: dict[Kind, Callable[[], Coroutine[None, None, None]]] = {
        Kind.POSTGRES_KILL: postgres.kill,
        Kind.POSTGRES_DOWN: partial(postgres.keep_down, fault.lasts),
        Kind.POSTGRES_HANG: partial(postgres.hang, fault.lasts, kill=True),
        Kind.POSTGRES_STALL: partial(postgres.hang, fault.lasts, kill=False),
        Kind.POSTGRES_CRASH: postgres.crash,
        Kind.LISTENERS_CUT: postgres.cut_listeners,
        Kind.CONNECTIONS_CUT: postgres.cut_all,
        Kind.SESSION_VANISHED: partial(postgres.vanish, fault.lasts),
        Kind.LEASES_LOST: postgres.lose_leases,
        Kind.FAILOVER: partial(postgres.fail_over, fault.lasts),
        Kind.POOLER_KILL: postgres.kill_pooler,
    }
    return of_kind[fault.kind]()


def say(line: str) -> None:
    print(line, flush=True)


def _complaints(folder: Path, made_up: Sequence[str]) -> Iterator[str]:
    for log in sorted(folder.glob("node-*.log")):
        lines = log.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if line.strip().startswith("Traceback (most recent call last)"):
                told = _last(lines[number:])
                if not any(expected in told for expected in made_up):
                    yield f"{log.name}:{number}: {lines[number - 1]} ... {told}"
            elif " CRITICAL " in line:
                yield f"{log.name}:{number + 1}: {line}"


def _last(lines: Sequence[str]) -> str:
    """The line that names the exception: as far in as the first, which frames are not."""
    margin = len(lines[0]) - len(lines[0].lstrip())
    return next((line for line in lines[1:] if line[margin : margin + 1].strip()), "")


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
