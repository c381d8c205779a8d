"""The page and the plot, from what a run left in JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from doorbench.load import CONNECTIONS
from doorbench.measure import RATE
from doorbench.neighbours import CALM
from doorbench.results import Measured, Results
from doorbench.traffic import TRAFFIC, Traffic

TORPOR, ENVOY, AUTHZ, DIRECT = "Torpor", "Envoy", "Envoy + ext_authz", "worker directly"
HAPROXY = "HAProxy"
NOTHING = "-"

Cell = Callable[[Measured], str]
Reading = Callable[[Measured, str], float | None]
_READINGS: tuple[Reading, ...] = (Measured.of, Measured.best)  # medians, and the best rounds


def page(results: Results) -> str:
    """docs/bench.md."""
    parts = [_INTRO.format(run=_run(results), rate=RATE, connections=CONNECTIONS)]
    parts += ["![calls a second of each proxy, by load](bench.png)"]
    quiet = results.others <= CALM
    parts += [] if quiet else [_DISTURBED]
    parts += ["## Requests that differ", _TRAFFIC]
    parts += ["CPU of the proxy's core, µs a call:", _traffic_cpu(results), _TRAFFIC_CPU]
    if quiet:
        parts += ["Calls a second:", _traffic(results)]
        parts += ["## The best case: one request repeated", _table(results, _calls(results))]
        parts += [_CALLS, "## Bulk", _table(results, _BULK), _BULK_NOTE]
    else:
        parts += ["## Bulk", _table(results, _BULK_CPU, proxies_only=True), "16 MiB a call."]
    parts += ["## Connections", _table(results, _crowds(results), proxies_only=True), _CROWDS]
    parts += ["## Torpor against the others", _bars(results, quiet=quiet), _BARS]
    if results.missing:
        parts += ["Left out: " + "; ".join(results.missing) + "."]
    return "\n\n".join(parts) + "\n"


def _run(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    short = " This was a short run (`SHORT=1`)." if results.short else ""
    load = f" Other processes used {results.others:.1f} cores meanwhile."
    return f"{results.machine}; {versions}; {results.rounds} rounds.{short}{load}"


def _number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value * factor:,.{digits}f}"


def _median(what: str, factor: float = 1.0, digits: int = 2) -> Cell:
    return lambda subject: _number(subject.of(what), factor, digits)


def _added(results: Results, what: str) -> Cell:
    direct = results.subject(DIRECT)

    def cell(subject: Measured) -> str:
        extra = added(subject, direct, what)
        return NOTHING if extra is None else _number(extra, 1e6, 0)

    return cell


def added(
    subject: Measured, direct: Measured | None, what: str, read: Reading = Measured.of
) -> float | None:
    """Seconds more than without a proxy."""
    if direct is None or subject is direct:
        return None
    own, base = read(subject, what), read(direct, what)
    return None if own is None or base is None else own - base


def _spread(subject: Measured) -> str:
    if not subject.unary:
        return NOTHING
    return f"{min(subject.unary):,.0f} to {max(subject.unary):,.0f}"


def _cpu(subject: Measured) -> str:
    cpu = subject.of("unary_cpu")
    return _number(cpu, 1e6, 1) if cpu else NOTHING


def _calls(results: Results) -> list[tuple[str, Cell]]:
    return [
        ("calls/s", _median("unary", 1.0, 0)),
        ("least to most", _spread),
        ("CPU µs a call", _cpu),
        ("added p50 µs", _added(results, "p50")),
        ("added p99 µs", _added(results, "p99")),
    ]


def _traffic(results: Results) -> str:
    columns = [(each.title, _median(each.name, 1.0, 0)) for each in TRAFFIC]
    return _table(results, [*columns, ("the same request, 4 x 25", _median("unary", 1.0, 0))])


def _traffic_cpu(results: Results) -> str:
    columns = [(each.title, _spent(f"{each.name}_cpu")) for each in TRAFFIC]
    columns.append(("the same request, 4 x 25", _spent("unary_cpu")))
    return _table(results, columns, proxies_only=True)


def _spent(what: str) -> Cell:
    return lambda subject: _number(subject.of(what), 1e6, 1)


def _busy(rate: str, cpu: str) -> Cell:
    return lambda subject: _number(subject.busy(rate, cpu), 100, 0)


_BULK: list[tuple[str, Cell]] = [
    ("to the client, GB/s", _median("down", 1e-9)),
    ("core %", _busy("down", "down_cpu")),
    ("CPU s a GB", _median("down_cpu", 1e9)),
    ("to the worker, GB/s", _median("up", 1e-9)),
    ("core %", _busy("up", "up_cpu")),
    ("CPU s a GB", _median("up_cpu", 1e9)),
    ("to the client, TLS", _median("tls_down", 1e-9)),
    ("to the worker, TLS", _median("tls_up", 1e-9)),
]


_BULK_CPU: list[tuple[str, Cell]] = [
    ("to the client, CPU s a GB", _median("down_cpu", 1e9)),
    ("to the worker, CPU s a GB", _median("up_cpu", 1e9)),
]


def _crowds(results: Results) -> list[tuple[str, Cell]]:
    kinds = {(c.held, c.count) for each in results.subjects for c in each.connections}
    return [column for held, count in sorted(kinds) for column in _crowd(count, held=held)]


def _crowd(count: int, *, held: bool) -> list[tuple[str, Cell]]:
    what = f"{count:,} {'held' if held else 'idle'}"

    def cell(name: str, factor: float, digits: int) -> Cell:
        def read(subject: Measured) -> str:
            crowd = subject.crowd(count, held=held)
            return _number(getattr(crowd, name), factor, digits) if crowd else NOTHING

        return read

    columns = [
        (f"{what}: KB each", cell("memory", 1e-3, 1)),
        ("CPU ms each", cell("cpu", 1e3, 2)),
        ("core % at rest", cell("resting", 100, 1)),
    ]
    if held:
        columns += [("s to answer all", cell("release", 1, 2)), ("failed", cell("failed", 1, 0))]
    return columns


def _table(
    results: Results, columns: Sequence[tuple[str, Cell]], *, proxies_only: bool = False
) -> str:
    subjects = [s for s in results.subjects if not (proxies_only and s.name == DIRECT)]
    rows = [[each.name, *(cell(each) for _, cell in columns)] for each in subjects]
    return table(["", *(name for name, _ in columns)], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bars(results: Results, *, quiet: bool) -> str:
    """Ratios and aims. Where the run was disturbed, only those of CPU."""
    rows = [*(_rates(results) if quiet else ()), *_costs(results)]
    head = ["", "against", "Torpor / other", "best rounds", "aim"]
    return table(head, [row for row in rows if row])


def _rates(results: Results) -> Iterator[list[str]]:
    torpor, direct = results.subject(TORPOR), results.subject(DIRECT)
    haproxy, envoy, authz = map(results.subject, (HAPROXY, ENVOY, AUTHZ))
    for each in TRAFFIC:
        for other in (haproxy, envoy):
            yield _ratio(each.title, each.name, torpor, other, _aim(each, other))
    yield _ratio("the same request", "unary", torpor, haproxy, 1.3)
    yield _ratio("the same request", "unary", torpor, envoy, 1.5)
    yield _ratio("the same request", "unary", torpor, authz, 4.0)
    yield _ratio("bulk to the client", "down", torpor, envoy, 1.0)
    yield _ratio("bulk to the worker", "up", torpor, envoy, 1.0)
    yield _ratio("bulk to the client, TLS", "tls_down", torpor, envoy, 0.9)
    yield _ratio("bulk to the worker, TLS", "tls_up", torpor, envoy, 0.9)
    for other in (authz, envoy):
        for what in ("p50", "p99"):
            yield _less(f"added {what}", what, torpor, other, direct)


def _costs(results: Results) -> Iterator[list[str]]:
    torpor = results.subject(TORPOR)
    haproxy, envoy, authz = map(results.subject, (HAPROXY, ENVOY, AUTHZ))
    for each in TRAFFIC:
        for other in (haproxy, envoy):
            what = f"{each.title}, a full core"
            yield _full_core(what, f"{each.name}_cpu", torpor, other, _aim(each, other))
    yield _full_core("the same request, a full core", "unary_cpu", torpor, haproxy, 1.3)
    yield _full_core("the same request, a full core", "unary_cpu", torpor, envoy, 1.5)
    yield _full_core("the same request, a full core", "unary_cpu", torpor, authz, 4.0)
    yield _full_core("bulk to the client, a full core", "down_cpu", torpor, envoy)
    yield _full_core("bulk to the worker, a full core", "up_cpu", torpor, envoy)


def _aim(each: Traffic, other: Measured | None) -> float | None:
    return _AIMS.get(each.name, {}).get(other.name) if other is not None else None


def _ratio(
    name: str, what: str, torpor: Measured | None, other: Measured | None, least: float | None
) -> list[str]:
    if torpor is None or other is None or not torpor.of(what) or not other.of(what):
        return []
    ratios = [_divided(read(torpor, what), read(other, what)) for read in _READINGS]
    return [name, other.name, *ratios, f"at least {least:g}" if least else NOTHING]


def _full_core(
    name: str,
    cpu: str,
    torpor: Measured | None,
    other: Measured | None,
    least: float | None = 1.0,
) -> list[str]:
    """What each would do if the load could fill its core."""
    if torpor is None or other is None or not torpor.of(cpu) or not other.of(cpu):
        return []
    ratios = [_divided(read(other, cpu), read(torpor, cpu)) for read in _READINGS]
    return [name, other.name, *ratios, f"at least {least:g}" if least else NOTHING]


def _less(
    name: str, what: str, torpor: Measured | None, other: Measured | None, direct: Measured | None
) -> list[str]:
    if torpor is None or other is None or direct is None:
        return []
    ratios = [
        _divided(added(torpor, direct, what, read), added(other, direct, what, read))
        for read in _READINGS
    ]
    return [name, other.name, *ratios, "at most 1"]


def _divided(own: float | None, their: float | None) -> str:
    """What both add may be too little to be measured, and then says nothing."""
    return f"{own / their:.2f}" if own and their and own > 0 and their > 0 else NOTHING


# What is to be reached at the least, by load and subject
_AIMS: dict[str, dict[str, float]] = {
    "differ": {HAPROXY: 0.8, ENVOY: 2.0},
    "small200": {HAPROXY: 0.8, ENVOY: 1.2},
    "small2000": {HAPROXY: 0.8, ENVOY: 1.2},
    "connect": {HAPROXY: 0.5, ENVOY: 0.8},
    "tls_full": {HAPROXY: 0.5, ENVOY: 0.8},
    "tls_resumed": {HAPROXY: 0.5, ENVOY: 0.8},
}

_INTRO = """# Benchmarks

Written by `make bench`: {run}

Each proxy has one core to itself, with all it needs to ask (Envoy's authorization server). Load
(h2load) and worker (nghttpd) share the other core. All subjects run side by side and take turns,
round by round; numbers are medians over the rounds. Torpor is `torpor serve` as its container
image has it, with the relay compiled ([running.md](running.md#compiled)), and its Postgres on the
same core: it looks tokens up, routes, keeps its leases and counts for its metrics. "Plain Python"
is the same without anything compiled, as a checkout runs.
HAProxy, Envoy and nginx do none of that; "Envoy + ext_authz" asks a small Python gRPC server about
every call, as it must where calls are to be authorized and held."""

_DISTURBED = """**This run was disturbed**: other processes used most of the machine. What a core
did in a second, and latencies, depend on what else ran at that moment, and are left out. What a
call costs in CPU is more than on a quiet machine, but comparable between the subjects, which took
turns; the table of ratios has it as "a full core"."""

_TRAFFIC = """100 octets each way. This is what real clients send: each call has a path or a
trace's id of its own, many clients have one call under way each, CI jobs come with new connections.
h2load draws from 20,000 paths; grpc-go and grpcio give every call a trace, an id and
binary metadata (their own cost bounds what they can ask for). A connection a call is connect, TLS
1.3 where it is named, one call, close; 25 under way at a time."""

_TRAFFIC_CPU = """What the proxy's core spent. Torpor opens a connection to the worker for each
connection of a client's; the others share theirs among all clients."""

_CALLS = f"""The same header block every time: what a proxy does at its best, and no client sends.
A call is 100 octets each way, over {CONNECTIONS} connections of 25 streams. Latencies
are taken at {RATE:,} calls a second, less those without a proxy. The CPU is what the proxy's core
spent on a call. grpc.aio in the authorization server is the choice that can hold calls; a thread
pool answers less than twice as many and can hold none."""

_BULK_NOTE = """16 MiB a call, 8 calls at once. "core %" is how much of its core a proxy used for
that: the rest of the time it waited for load and worker, whose core is full. Without any proxy they
move no more (the first line), so that one which is cheap enough is not what is measured here. What
it would move with its whole core is what its CPU a GB says; the last table compares that too.
grpc.aio is left out of TLS.

Where Torpor's time goes on bulk (`perf record` of the relay alone): 74 % in the kernel, which moves
the octets through TCP; 11 % in the one copy out of uvloop's read buffer; 13 % in Python, a look at
nine octets of each frame; 2 % in uvloop."""

_CROWDS = """An idle connection has had one call answered. A held one waits with its first call
until its worker wakes; then all of them are answered, none may fail, and each closes when it has
its answer. Envoy plain and nginx cannot hold. Memory is the proportional set size of all the
processes of a proxy, beyond what they had before."""

_BARS = """What must be reached at the least, and what is: by the medians, and by each one's best
round. A measurement during which other processes used the machine is taken again, a few times, and
the least disturbed is kept. The CPU that a proxy spends is what neighbours change least: where
rounds lie far apart, look at that."""
