"""docs/bench-fleet.md."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from fleetbench.alive import AtRest, Burst
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
            f"{len(took)} wakes at once: request to call, p90",
            "1 s",
            f"{late:.2f} s (p50 {at(took, 0.5):.2f}, most {took[-1]:.2f}); a wake takes"
            f" {found.burst.postgres.cpu * each:.1f} ms of Postgres'"
            f" and {found.burst.processes * each:.1f} ms of a process' CPU",
            late <= BURST_GOAL,
        ),
    ]


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
often as {processes} processes do it; the CPU is that of all of Postgres' processes. No checkpoint
falls into the measurement: after one, pages are written whole, which adds to the WAL of whatever
writes.

{duties}

Before:

{old_duties}

## A process

The process of the table is one of {processes}, the others being rows. It asks {statements}
statements a second. Each of its connections is one of: statements (one at rest, five at most), the
heartbeat, LISTEN, look-ups of callers. It has searched all machines for orphans once.

*Wakes at once* come through three processes; machines take 1 to 5 s, and their workers are asked
every 50 ms meanwhile, which is part of the CPU, as is the start of the three processes.

## NOTIFY

Each transition is notified, and wakes every listener of the database:

{notified}

A sleep and a wake are four transitions. With ten of them a day, 100,000 satellites make 46 a
second. A fleet of many processes that wakes so often may do without (`--poll-only`): what other
routers do is then seen by polling, within a second ([database](database.md)).
"""
