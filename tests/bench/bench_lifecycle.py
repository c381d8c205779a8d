"""What the lifecycle costs: queries, first calls, releases, crowds, the reaper.

    python tests/bench/bench_lifecycle.py [--short]

prints a table and writes docs/bench-lifecycle.md. Everything runs on this machine and in this
process but Postgres: nodes, doors, machines that start at once, and workers.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kit"))

from doorkit.fakes import FakeDirectory, satellite_id  # noqa: E402 - found through the path above
from doorkit.frames import FrameClient  # noqa: E402 - likewise

from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind  # noqa: E402
from torpor_router.h2 import wire  # noqa: E402
from torpor_router.h2.wire import Kind  # noqa: E402
from torpor_router.limits import Limits  # noqa: E402
from torpor_router.listener import Door  # noqa: E402
from torpor_router.probe import answers  # noqa: E402
from torpor_statemachine.config import FleetConfig  # noqa: E402
from torpor_statemachine.database import Database  # noqa: E402
from torpor_statemachine.fleet import Fleet  # noqa: E402
from torpor_statemachine.migrate import migrate  # noqa: E402
from torpor_statemachine.postgres import EmbeddedPostgres  # noqa: E402

PAGE = ROOT / "docs" / "bench-lifecycle.md"
BUDGET = 60.0
# Nothing but what is measured asks the database anything
QUIET = FleetConfig(
    heartbeat=1_000.0,
    claims_live=4_000.0,
    leases_live=9_000.0,
    reap=1e5,
    reap_batch=100,
    poll=1e4,
    reconcile=1e5,
)


@dataclass(frozen=True)
class Row:
    what: str
    bar: str
    measured: str
    kept: bool


class Machines:
    """A cloud in memory: what is told to start runs at once; `wakes` are the moments of calls."""

    def __init__(self) -> None:
        self.wakes: dict[str, list[float]] = {}
        self.boot: dict[str, Callable[[], Awaitable[None]]] = {}
        self.calls: Counter[str] = Counter()
        self._states: dict[str, MachineState] = {}
        self._booting: set[asyncio.Future[None]] = set()

    async def wake(self, ref: str) -> None:
        self.wakes.setdefault(ref, []).append(time.perf_counter())
        self.calls["wake"] += 1
        self._states[ref] = MachineState.RUNNING
        if ref in self.boot:
            task = asyncio.ensure_future(self.boot[ref]())
            self._booting.add(task)
            task.add_done_callback(self._booting.discard)

    async def sleep(self, ref: str, how: SleepKind) -> None:
        self.calls["sleep"] += 1
        self._states[ref] = MachineState.ASLEEP

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        return {ref: Observed(self._states.get(ref, MachineState.ASLEEP)) for ref in refs}

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        return {}

    async def launch(self, spec: Any, token: str) -> str:
        raise NotImplementedError

    async def terminate(self, ref: str) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


class Bench:
    """A Postgres as it comes, and what is built on it."""

    def __init__(self, server: str, stack: AsyncExitStack, *, short: bool) -> None:
        self.short = short
        self.machines = Machines()
        self._server = server
        self._stack = stack

    async def database(self) -> Database:
        """An empty one of its own, migrated; those before it go to rest."""
        name = f"bench_{uuid4().hex[:8]}"
        async with Database(self._server) as server:
            await server.execute(f"create database {name}")
        url = self._server.replace("/postgres?", f"/{name}?")
        await migrate(url)
        return await self._stack.enter_async_context(Database(url))

    @asynccontextmanager
    async def nodes(
        self, on: Database, number: int, config: FleetConfig, probe: Any = answers
    ) -> AsyncIterator[list[tuple[Fleet, Database]]]:
        async with AsyncExitStack() as stack:
            made = []
            for _ in range(number):
                database = await stack.enter_async_context(Database(on.url))
                fleet = Fleet(database, {"bench": self.machines}, probe=probe, config=config)
                await fleet.start()
                stack.push_async_callback(fleet.aclose)
                made.append((fleet, database))
            await asyncio.sleep(0.2)  # their listeners connect
            yield made

    async def satellites(
        self, on: Database, number: int, *, idle: int = 0, address: Address | None = None
    ) -> list[UUID]:
        """So many asleep; of those that run (if `idle` is given) so many are due to sleep."""
        await on.execute("insert into orgs (name) values ('acme') on conflict do nothing")
        host, port = address or Address("127.0.0.1", 1)
        rows = await on.fetch(
            """
            insert into satellites (org_id, name, provisioner, arch, state, ref, host, port,
                sleep_kind, idle_since, sleep_due, checked_at)
            select orgs.id, 'n' || n, 'bench', 'x86_64',
                case when $2 > 0 then 'running' else 'asleep' end, 'm-' || n, $3, $4,
                case when $2 > 0 then null else 'hibernated' end,
                case when $2 > 0 then now() - interval '1 hour' end,
                case when n <= $2 then now() - interval '1 minute'
                     when $2 > 0 then now() + interval '1 hour' end,
                now() + interval '1 day'
            from orgs, generate_series(1, $1) n returning id
            """,
            *(number, idle, host, port),
        )
        await on.execute("analyze")
        return [row["id"] for row in rows]


async def always(address: Address, timeout: float) -> bool:
    return True


# --- Queries of the hot path


async def hot_path(bench: Bench) -> list[Row]:
    streams = 10_000
    database = await bench.database()
    [satellite] = await bench.satellites(database, 1)
    async with bench.nodes(database, 1, QUIET, always) as [(fleet, used)]:
        await fleet.admit(satellite, actor="bench", budget=BUDGET)
        before, since = used.queries, time.perf_counter()
        for _ in range(streams):
            assert fleet.enter(satellite) is not None
            fleet.leave(satellite)
        each = (time.perf_counter() - since) / streams
        await asyncio.sleep(0.1)  # whatever was begun meanwhile
        asked = used.queries - before
    measured = f"{asked} for {streams:,} streams; {each * 1e6:.2f} µs a stream"
    return [Row("queries of streams to a running satellite", "0", measured, asked == 0)]


# --- From the first request to the start call


async def first_calls(bench: Bench) -> list[Row]:
    """In turn with a bare round trip and a bare commit, so that all meet the same disturbances."""
    number = 50 if bench.short else 400
    database = await bench.database()
    satellites = await bench.satellites(database, number)
    await database.execute("create table bare (at timestamptz)")
    took, trips, commits = [], [], []
    async with bench.nodes(database, 1, FleetConfig(), always) as [(fleet, used)]:
        for n, satellite in enumerate(satellites, 1):
            trips.append(await _lasts(used.fetchval("select 1")))
            commits.append(await _lasts(used.execute("insert into bare values (now())")))
            since = time.perf_counter()
            await fleet.admit(satellite, actor="bench", budget=BUDGET)
            fleet.leave(satellite)
            took.append(bench.machines.wakes[f"m-{n}"][0] - since)
            await asyncio.sleep(0.01)  # the end of this wake is not part of the next
    return [_first(took, trips, commits, share, bar) for share, bar in ((0.5, 5e-3), (0.99, 2e-2))]


def _first(
    took: list[float], trips: list[float], commits: list[float], share: float, bar: float
) -> Row:
    mine, trip, commit = (_at(values, share) for values in (took, trips, commits))
    measured = f"{_ms(mine)}; a bare `select 1` {_ms(trip)}, a bare commit {_ms(commit)}"
    what = f"first request to start call, p{share * 100:.0f}"
    return Row(what, f"{bar * 1e3:.0f} ms", measured, mine <= bar)


async def _lasts(query: Awaitable[Any]) -> float:
    since = time.perf_counter()
    await query
    return time.perf_counter() - since


# --- From the worker's first answer to the request at the worker


class Worker:
    """Answers from a moment on, and notes when a request comes."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.answers_since = 0.0
        self.asked = asyncio.Event()
        self.asked_at = 0.0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)
        self.answers_since = time.perf_counter()

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.settings(()))
        try:
            await reader.readexactly(len(wire.PREFACE))
            while True:
                word, _, _ = wire.unpack_header(await reader.readexactly(wire.HEADER_SIZE), 0)
                await reader.readexactly(word >> 8)
                if word & 0xFF == Kind.HEADERS:
                    self.asked_at = time.perf_counter()
                    self.asked.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class ById(FakeDirectory):
    """Knows the satellites of the bench by their names."""

    def __init__(self, satellites: Mapping[str, UUID]) -> None:
        super().__init__()
        self._ids = {satellite_id(name): known for name, known in satellites.items()}

    def _route(self, ask: Any) -> Any:
        route = super()._route(ask)
        return type(route)(self._ids[route.satellite_id], route.org, route.satellite, route.caller)


async def forwards(bench: Bench) -> list[Row]:
    number = 20 if bench.short else 100
    database = await bench.database()
    satellites = await bench.satellites(database, number)
    names = {f"acme/n{n}": each for n, each in enumerate(satellites, 1)}
    took = []
    async with bench.nodes(database, 1, FleetConfig()) as [(fleet, _)]:
        door = Door(gate=fleet, directory=ById(names), own=Path("/nowhere"), limits=Limits())
        address = Address(*await door.listen("127.0.0.1", 0))
        for n, (name, satellite) in enumerate(names.items(), 1):
            took.append(await _forward(bench, database, address, n, name, satellite))
        await door.aclose()
    slowest = _at(took, 0.95)
    spread = f"{_ms(slowest)} (p50 {_ms(_at(took, 0.5))}, most {_ms(max(took))})"
    return [
        Row("worker answers to held request at the worker, p95", "100 ms", spread, slowest <= 0.1)
    ]


async def _forward(
    bench: Bench, database: Database, door: Address, n: int, name: str, satellite: UUID
) -> float:
    worker = Worker(Address(f"127.0.{n // 250}.{n % 250 + 2}", 50_052))

    async def boot() -> None:
        await asyncio.sleep(0.3 + 0.1 * (n * 0.618 % 1))  # at every phase of the probes
        await worker.start()

    bench.machines.boot[f"m-{n}"] = boot
    await database.execute(
        "update satellites set host = $2, port = $3 where id = $1", satellite, *worker.address
    )
    client = await FrameClient.connect(door)
    client.satellite = name.encode()
    client.send(client.request(1, end=True))
    async with asyncio.timeout(BUDGET):
        await worker.asked.wait()
    await client.aclose()
    await worker.aclose()
    return worker.asked_at - worker.answers_since


# --- A thousand requests


async def crowds(bench: Bench) -> list[Row]:
    few, many = await _crowd(bench, 10), await _crowd(bench, 1_000)
    queries = f"{many.queries} a node for 1,000, {few.queries} for 10"
    # Who hears a moment later looks once more; a crowd must not make more than that of it
    flat = max(many.queries) <= max(few.queries) + 2
    return [
        Row("start calls for 1,000 requests on 4 nodes", "1", str(many.starts), many.starts == 1),
        Row(
            "from their first release to their last",
            "250 ms",
            _ms(many.spread),
            many.spread <= 0.25,
        ),
        Row("their queries", "as for 10", queries, flat),
    ]


@dataclass(frozen=True)
class Crowd:
    starts: int
    spread: float
    queries: list[int]


async def _crowd(bench: Bench, requests: int) -> Crowd:
    database = await bench.database()
    bench.machines.wakes.clear()
    [satellite] = await bench.satellites(database, 1)
    bench.machines.boot.clear()
    awake = time.perf_counter() + 1.0

    async def probe(address: Address, timeout: float) -> bool:
        return time.perf_counter() > awake

    async with bench.nodes(database, 4, QUIET, probe) as nodes:
        before = [used.queries for _, used in nodes]

        async def ask(fleet: Fleet) -> float:
            await fleet.admit(satellite, actor="bench", budget=BUDGET)
            return time.perf_counter()

        fleets = [fleet for fleet, _ in nodes]
        released = await asyncio.gather(*(ask(fleets[n % 4]) for n in range(requests)))
        queries = [used.queries - was for (_, used), was in zip(nodes, before, strict=True)]
    starts = sum(map(len, bench.machines.wakes.values()))
    return Crowd(starts, max(released) - min(released), queries)


# --- The reaper


async def reaping(bench: Bench) -> list[Row]:
    small, large = await _reap(bench, 1_000), await _reap(bench, 100_000)
    text = f"{_ms(large)}; {_ms(small)} with 1,000"
    return [
        Row("a reaper's pass over 100,000 satellites, 100 idle", "50 ms", text, large <= 0.05),
        Row(
            "the same against 1,000 satellites",
            "flat",
            f"{large / small:.2f} times",
            large <= 1.5 * small + 2e-3,
        ),
    ]


async def _reap(bench: Bench, number: int) -> float:
    """The median of passes that find and claim 100; what is claimed is put back in between."""
    took = []
    database = await bench.database()
    await bench.satellites(database, number, idle=100)
    async with bench.nodes(database, 1, QUIET, always) as [(fleet, _)]:
        for _ in range(3 if bench.short else 9):
            since = time.perf_counter()
            claimed = await fleet._reaper.reap()
            took.append(time.perf_counter() - since)
            assert claimed == 100, claimed
            await _put_back(database)
    return statistics.median(took)


async def _put_back(database: Database) -> None:
    while await database.fetchval("select count(*) from satellites where claimed_by is not null"):
        await asyncio.sleep(0.05)
    await database.execute(
        """
        update satellites set state = 'running', sleep_kind = null,
            idle_since = now() - interval '1 hour', sleep_due = now() - interval '1 minute'
        where state = 'asleep'
        """
    )
    await database.execute("vacuum analyze satellites")


# --- What is told


def _at(values: Sequence[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _table(rows: Sequence[Row]) -> str:
    lines = ["| what | bar | measured | kept |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.bar} | {row.measured} | {'yes' if row.kept else 'no'} |"
        for row in rows
    ]
    return "\n".join(lines)


async def measure(short: bool) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lifecyclebench-") as folder:
        Path(folder).chmod(0o755)
        async with EmbeddedPostgres(Path(folder) / "postgres").running() as server:
            for part in (hot_path, first_calls, forwards, crowds, reaping):
                async with AsyncExitStack() as stack:
                    found = await part(Bench(server, stack, short=short))
                print(*(f"{row.what}: {row.measured}" for row in found), sep="\n", flush=True)
                rows += found
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="fewer of each; no page is written")
    asked = parser.parse_args()
    busy = os.getloadavg()[0]
    rows = uvloop.run(measure(asked.short))
    table = _table(rows)
    print(f"\n{table}")
    if not asked.short:
        PAGE.write_text(WORDS.format(table=table, machine=_machine(), busy=f"{busy:.1f}"))


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


WORDS = """\
# What the lifecycle costs

Written by `python tests/bench/bench_lifecycle.py` on {machine}, load {busy} before it began. The
machine is shared: times are of what it was busy with besides, and the bars are for an idle one.

{table}

- Postgres is the embedded one with its defaults: each commit is on the disk before it is told of.
- Nodes, doors, workers and clients share one process and one event loop here; in operation each
  node has its own. The cloud is in memory and answers at once.
- *First request to start call* is from `Gate.admit` to the provisioner's `wake`, with all of a
  node's other duties running: look at the row, claim (a commit), call. In turn with each, a bare
  `select 1` and a bare commit of one row on the same pool say what those cost on this machine at
  this time.
- *Worker answers to held request at the worker* is from the moment the worker listens until it has
  read the request's HEADERS, through the door: the probe that finds it (every 50 ms), the
  completion, the lease, the connection. Workers begin at every phase of the probes.
- *1,000 requests*: a fleet of 4 nodes, 250 requests each, one satellite, which answers a second
  after the start call. Three of the nodes learn of it through LISTEN.
- *A reaper's pass* finds those that are due and claims them for sleep, 100 in all; the work that
  follows is not part of it. The plan of its query is a test of its own.
"""


if __name__ == "__main__":
    main()
