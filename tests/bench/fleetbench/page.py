"""docs/bench-fleet.md."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from fleetbench.alive import AtRest, Burst
from fleetbench.failover import CLAIMS, STREAMS, Failover
from fleetbench.failover import PROCESSES as FEW
from fleetbench.notify import Notified
from fleetbench.rest import NEW, OLD, PROCESSES, Grown, Rest
from lifecyclebench.rows import Row, at, ms, table

WAL_GOAL = 100e3  # octets a second
TURN_GOAL = 0.020  # seconds
CONNECTIONS_GOAL, MOST_CONNECTIONS = 4, 8
BURST_GOAL = 1.0  # seconds


@dataclass(frozen=True)
class Found:
    grown: Grown
    notified: list[Notified]
    at_rest: AtRest
    burst: Burst
    failover: Failover


def bars(found: Found) -> list[Row]:
    old, new = found.grown[OLD][-1], found.grown[NEW][-1]
    rest, took = found.at_rest, found.burst.took
    late = at(took, 0.9)
    each = 1e3 / len(took)
    most = f"{rest.connections}; {rest.most_connections} at most"
    return [
        Row(
            f"cores of Postgres for {new.satellites:,} satellites at rest",
            "a tenth of f9a7927's",
            f"{new.cost.cpu:.3f}, before {old.cost.cpu:.3f}: a {old.cost.cpu / new.cost.cpu:.0f}th",
            new.cost.cpu <= old.cost.cpu / 10,
        ),
        Row(
            "their WAL, a second",
            "100 KB",
            f"{new.cost.wal / 1e3:.0f} KB, before {old.cost.wal / 1e3:,.0f} KB",
            new.cost.wal <= WAL_GOAL,
        ),
        Row(
            "connections of a process at rest",
            f"{CONNECTIONS_GOAL}, {MOST_CONNECTIONS} at most",
            most,
            rest.connections <= CONNECTIONS_GOAL and rest.most_connections <= MOST_CONNECTIONS,
        ),
        Row(
            f"longest turn of its loop, a search of {rest.satellites:,} machines included",
            "20 ms of CPU",
            ms(rest.turn),
            rest.turn <= TURN_GOAL,
        ),
        Row(
            f"{len(took)} wakes at once: request to call, p90, the median of 3 runs",
            "1 s",
            f"{late:.2f} s (p50 {at(took, 0.5):.2f}, most {took[-1]:.2f}); a wake takes"
            f" {found.burst.postgres.cpu * each:.1f} ms of Postgres'"
            f" and {found.burst.processes * each:.1f} ms of a process' CPU",
            late <= BURST_GOAL,
        ),
        _after(found.failover),
    ]


def _after(failover: Failover) -> Row:
    """No machine is started twice, no process is slow for others, none takes more connections."""
    return Row(
        f"a failover, {failover.satellites:,} satellites: start calls for {CLAIMS} wakes of a node"
        f" that is gone; longest turn; connections of {FEW} processes",
        f"{CLAIMS}; 20 ms of CPU; {FEW * MOST_CONNECTIONS}",
        f"{failover.starts}; {ms(failover.turn)}; {failover.connections}",
        failover.starts == CLAIMS
        and failover.turn <= TURN_GOAL
        and failover.connections <= FEW * MOST_CONNECTIONS,
    )


def page(found: Found, busy: float) -> str:
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    return WORDS.format(
        processes=PROCESSES,
        machine=machine,
        busy=f"{busy:.1f}",
        bars=table(bars(found)),
        growth=_growth(found.grown),
        duties=_duties(found.grown[NEW][-1]),
        old_duties=_duties(found.grown[OLD][-1]),
        notified=_notified(found.notified),
        statements=f"{found.at_rest.statements:.1f}",
        listener=_listener(found.notified),
        few=FEW,
        streams=STREAMS,
        claims=CLAIMS,
        settled=f"{found.failover.settled:.0f}",
        busiest=found.failover.statements,
    )


def _growth(grown: Grown) -> str:
    lines = [
        "| satellites | cores, before | cores | KB of WAL a second, before | KB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for old, new in zip(grown[OLD], grown[NEW], strict=True):
        lines.append(
            f"| {new.satellites:,} | {old.cost.cpu:.3f} | {new.cost.cpu:.3f}"
            f" | {old.cost.wal / 1e3:,.0f} | {new.cost.wal / 1e3:,.0f} |"
        )
    return "\n".join(lines)


def _duties(rest: Rest) -> str:
    lines = [
        "| duty | times a second | ms of CPU each | octets of WAL each | cores |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.duty.name} | {one.duty.rate:.3g} | {one.each.cpu * 1e3:.2f}"
        f" | {one.each.wal:,.0f} | {one.cost.cpu:.4f} |"
        for one in rest.duties
    ]
    return "\n".join(lines)


def _notified(notified: list[Notified]) -> str:
    lines = ["| processes that listen | ms of Postgres' CPU a transition |", "| ---: | ---: |"]
    lines += [f"| {one.listeners} | {one.cost.cpu * 1e3:.2f} |" for one in notified]
    return "\n".join(lines)


def _listener(notified: list[Notified]) -> str:
    """What one costs more, in milliseconds."""
    none, most = notified[0], notified[-1]
    return f"{(most.cost.cpu - none.cost.cpu) / most.listeners * 1e3:.3f}"


WORDS = """\
# What a fleet costs its Postgres

Written by `python tests/bench/bench_fleet.py` on {machine}, load {busy} before it began. A machine
that is busy with other things makes every figure worse, CPU included.

{bars}

## At rest

![cores and WAL by the number of satellites, before and now](bench-fleet.png)

{growth}

A fleet of {processes} processes (50 hosts of 4) while nobody builds: one satellite in five runs
and is idle, the others sleep. *Before* is what commit f9a7927 asked, on its own tables: each look
at a satellite wrote its row. Both run on one server, one after another, with {processes}
listeners connected. Each duty is carried out by itself, by the product's own store, and counted as
often as {processes} processes do it; the CPU is that of all of Postgres' processes. What Postgres
does by itself is a duty like the others, for what is now: the autovacuum of the heartbeats' table,
once a minute, and a checkpoint every five minutes, after which each page is logged whole once.
(Where autovacuum falls upon a duty instead, its WAL is taken for that duty's, many times a second:
so 283 KB/s once stood here for 1,000 satellites.)

{duties}

Before:

{old_duties}

## A process

The process of the table is one of {processes}, the others being rows. It asks {statements}
statements a second. Each of its connections is one of: statements (one at rest, five at most), the
heartbeat, LISTEN, look-ups of callers. It has searched all machines for orphans once.

*Wakes at once* come through three processes; machines take 1 to 5 s, and their workers are asked
every 50 ms meanwhile, which is part of the CPU, as is the start of the three processes. The bar is
for a quiet machine, for all of them and Postgres share its cores: three runs at a load of 1
(2026-11-22) had a p90 of 1.12, 0.83 and 0.93 s; at loads of 14 it is 6 to 13 s.

## A failover

The primary is killed. The standby that is promoted lacks the leases of {streams} open streams, and
has {claims} wakes under way of a node that is gone. {few} processes serve all. {settled} s after
the promotion all leases are there again, and all those machines have been started, once each, and
answer; the wait until dead nodes are judged (7 s) and the machines' 1 to 5 s are in it. No process
asks more than {busiest} statements in any second.

## NOTIFY

Each transition is notified, and wakes every listener of the database:

{notified}

So a listener costs {listener} ms each time. Postgres wakes every session of the database that
listens to anything, so channels for some satellites each would save nothing; one listener for the
four processes of a host would save three quarters, and is not built.

A sleep and a wake are four transitions. With ten of them a day, 100,000 satellites make 46 a
second. A fleet of many processes that wakes so often may do without (`--poll-only`): what other
routers do is then seen by polling, within a second ([database](database.md)).
"""
