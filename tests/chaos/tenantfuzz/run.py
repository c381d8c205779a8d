"""Two tenants on one deployment, for a while; what must hold of it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shlex
import sys
import time
import urllib.request
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from doorkit.authority import Authority, client_context
from e2ekit.deployment import Deployment, Node, deployed
from free_ports import free_ports
from tenantfuzz.canary import Tenant
from tenantfuzz.client import Client, Doors, Told

from torpor_router.control.v1.torpor_pb2 import SleepRequest
from torpor_router.control.v1.torpor_pb2_grpc import SatellitesStub
from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.migrate import migrate

HERE = Path(__file__).parent
ORGS = ("alpha", "beta")
NAMES = ("one", "two")
BETWEEN_SLEEPS = 6.0  # seconds, at most
CLIENTS = 24  # at once, of each tenant
GROWTH = 20.0  # MiB that a node may keep after its warm-up
KEEPS = 20.0  # seconds: a node gives free memory back every ten, later where it gets little CPU
LOOK = 0.2  # seconds
WARM = 30.0  # seconds, but at most half of the run
END = 60.0  # seconds until nothing of the clients may be left
# What a node may be told of connections' lives, and of how much they may do at a time. Each is left
# as it is by half of the nodes.
LIMITS: dict[str, tuple[float, ...]] = {
    "preface_timeout": (0.5, 2.0),
    "first_request_timeout": (0.2, 1.0, 5.0),
    "idle_timeout": (0.1, 1.0, 5.0),
    "header_timeout": (0.5, 2.0),
    "write_stall": (1.0, 5.0),
    "hold_budget": (0.5, 3.0),
    "streams_per_connection": (2, 5, 100),
    "held_per_satellite": (4, 16),
    "held_octets_per_connection": (2_000, 20_000),
    "connections_per_caller": (12, 100),
    "strangers_per_address": (16, 64),
    "node_streams_of_strangers": (1, 4),
}


@dataclass
class Outcome:
    """`broken` has what did not hold, in words."""

    broken: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)


@dataclass
class Watched:
    """A node, and what it was like when it was warm."""

    node: Node
    metrics: int  # port
    resident: float = 0.0
    most: float = 0.0
    kept: float = 0.0  # the most that it did not give back for `KEEPS`
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=int(KEEPS / LOOK)))

    def begin(self) -> None:
        self.resident = self.most = self.kept = _resident(self)

    def look(self) -> None:
        now = _resident(self)
        self._last.append(now)
        self.most = max(self.most, now)
        if len(self._last) == self._last.maxlen:
            self.kept = max(self.kept, min(self._last))


async def fuzz(folder: Path, seconds: float, seed: int) -> Outcome:
    async with EmbeddedPostgres(folder / "postgres").running() as url:
        await migrate(url)
        results = folder / "results"
        results.mkdir()
        async with _deployment(url, folder) as deployment:
            tenants = [Tenant(org, await deployment.token(org)) for org in ORGS]
            _write_plan(folder / "plan.json", tenants, results)
            authority = Authority(folder)
            rng = random.Random(f"{seed}/limits")
            limits = [_limits(rng) for _ in range(2)]
            nodes = await _start(deployment, authority, limits)
            for org in ORGS:
                for name in NAMES:
                    await deployment.satellite(f"{org}/{name}", worker="fuzz")
            outcome, told = Outcome(), Told()
            for number, each in enumerate(limits):
                outcome.figures[f"node {number}'s limits"] = " ".join(each)
            doors = _doors(nodes, authority, tenants)
            idle = [_files(each) for each in nodes]
            async with _sleeping(nodes[0].node, tenants, seed, told):
                await _run(doors, tenants, nodes, told, seconds, seed)
            outcome.broken += told.found
            outcome.figures |= told.counts
            await _check(nodes, idle, outcome)
            _read_workers(results, outcome)
            return outcome


@asynccontextmanager
async def _deployment(url: str, folder: Path) -> AsyncIterator[Deployment]:
    # A worker inherits nothing of this process, its module path neither
    path = f"PYTHONPATH={HERE.parent}:{HERE.parents[1] / 'kit'}"
    command = ("env", path, sys.executable, str(HERE / "worker.py"))
    words = " ".join([*map(shlex.quote, command), "{socket}", shlex.quote(f"{folder}/plan.json")])
    async with deployed(url, folder, {"TORPOR_LOCAL_WORKER_FUZZ": words}) as deployment:
        yield deployment


def _write_plan(path: Path, tenants: list[Tenant], results: Path) -> None:
    who = [{"org": t.org, "token": t.token, "secret": t.secret.decode()} for t in tenants]
    path.write_text(json.dumps({"who": who, "results": str(results)}))


def _limits(rng: random.Random) -> list[str]:
    """Options of one node's."""
    told = {name: rng.choice(values) for name, values in LIMITS.items() if rng.random() < 0.5}
    return [f"--{name.replace('_', '-')}={value}" for name, value in told.items()]


async def _start(
    deployment: Deployment, authority: Authority, limits: list[list[str]]
) -> list[Watched]:
    """A node without TLS, and one that believes client certificates."""
    own = authority.issue(dns=("door.test", "*.door.test"))
    tls = (
        *("--tls-cert", str(own.certificate), "--tls-key", str(own.key)),
        *("--client-ca", str(authority.path), "--domain", "door.test"),
    )
    nodes = []
    kinds = (((), None), (tls, client_context(authority)))
    for (options, context), told in zip(kinds, limits, strict=True):
        port = free_ports()
        words = ("--metrics", f"127.0.0.1:{port}", *options, *told)
        node = await deployment.node(*words, tls=context)
        nodes.append(Watched(node, port))
    return nodes


def _doors(nodes: list[Watched], authority: Authority, tenants: list[Tenant]) -> Doors:
    certified = {}
    for each in tenants:
        files = authority.issue(
            uris=(f"torpor://org/{each.org}",), name=f"{each.says(b'0' * 16).decode()}"
        )
        certified[each.org] = client_context(authority)
        certified[each.org].load_cert_chain(files.certificate, files.key)
    plain, tls = nodes
    return Doors(plain.node.address, tls.node.address, client_context(authority), certified)


@asynccontextmanager
async def _sleeping(
    node: Node, tenants: list[Tenant], seed: int, told: Told
) -> AsyncIterator[None]:
    """Satellites are put to sleep under their streams now and then; the next request wakes them."""
    rng = random.Random(seed)

    async def put_to_sleep() -> None:
        async with node.channel() as channel:
            stub = SatellitesStub(channel)
            while True:
                await asyncio.sleep(rng.uniform(1.0, BETWEEN_SLEEPS))
                who = rng.choice(tenants)
                request = SleepRequest(name=rng.choice(NAMES), force=True)
                with suppress(grpc.RpcError):  # it may be asleep, or on its way
                    async for _ in stub.Sleep(request, metadata=who.metadata, timeout=20):
                        pass
                    told.counts["sleeps"] += 1

    task = asyncio.create_task(put_to_sleep())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _run(
    doors: Doors,
    tenants: list[Tenant],
    nodes: list[Watched],
    told: Told,
    seconds: float,
    seed: int,
) -> None:
    until = time.monotonic() + seconds

    async def keep_coming(number: int) -> None:
        rng = random.Random(seed * 1_000 + number)
        own = tenants[number % len(tenants)]
        client = Client(doors, own, [each for each in tenants if each is not own], told)
        while time.monotonic() < until:
            await client.run(rng)

    async def look() -> None:
        await asyncio.sleep(min(WARM, seconds / 2))
        for each in nodes:
            each.begin()
        while time.monotonic() < until:
            await asyncio.sleep(LOOK)
            for each in nodes:
                each.look()

    await asyncio.gather(look(), *(keep_coming(n) for n in range(CLIENTS * len(tenants))))


async def _check(nodes: list[Watched], idle: list[int], outcome: Outcome) -> None:
    for number, (each, files) in enumerate(zip(nodes, idle, strict=True)):
        name = f"node {number}"
        log = each.node.log.read_text()
        if each.node.process.returncode is not None:
            outcome.broken.append(f"{name} ended with {each.node.process.returncode}")
            continue
        if "Traceback" in log:
            outcome.broken.append(f"{name} logged {log[log.index('Traceback') :][:2_000]}")
        left = await _until_empty(each)
        if left:
            outcome.broken.append(f"{name} still has {left}")
        if _files(each) > files + 8:  # a database connection more, say
            outcome.broken.append(f"{name} has {_files(each)} files open, {files} before")
        if each.kept - each.resident > GROWTH:
            outcome.broken.append(f"{name} grew from {each.resident:.0f} to {each.kept:.0f} MiB")
        outcome.figures[f"{name}, MiB warm, kept, most, at the end"] = (
            f"{each.resident:.0f}, {each.kept:.0f}, {each.most:.0f}, {_resident(each):.0f}"
        )
        outcome.figures[f"{name}, files before and after"] = f"{files}, {_files(each)}"
        for org_token in re.findall(r"tpr_\S{20,}", log):
            outcome.broken.append(f"{name} logged a token: {org_token[:8]}")


async def _until_empty(each: Watched) -> dict[str, float]:
    """What of the clients is left after a while, by metric."""
    names = ("torpor_open_streams", "torpor_open_connections", "torpor_held_requests")
    left: dict[str, float] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(END):
            while True:
                text = await asyncio.to_thread(_metrics, each.metrics)
                values = {n: float(v) for n, v in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}
                left = {name: values[name] for name in names if values[name]}
                if not left:
                    break
                await asyncio.sleep(0.5)
    return left


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def _resident(each: Watched) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{each.node.process.pid}/status").read_text()
        if found := re.search(r"VmRSS:\s+(\d+)", status):
            return int(found[1]) / 1024
    return 0.0


def _files(each: Watched) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return len(list(Path(f"/proc/{each.node.process.pid}/fd").iterdir()))
    return 0


def _read_workers(results: Path, outcome: Outcome) -> None:
    for each in results.glob("*-found.jsonl"):
        outcome.broken += [f"a worker saw {line}" for line in each.read_text().splitlines()]
    counts = [json.loads(each.read_text()) for each in results.glob("*.count")]
    outcome.figures["workers' canaries"] = sum(each["canaries"] for each in counts)
    outcome.figures["workers' connections"] = sum(each["connections"] for each in counts)
