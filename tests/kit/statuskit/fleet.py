"""A fleet in a database, with a week behind it, as the status page might find it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from torpor_statemachine.postgres.pool import Database

_SATELLITE = """
insert into satellites (id, org_id, name, provisioner, arch, size, state, state_since,
    created_at, sleep_kind, labels, usual_wake, idle_since, sleep_due, sleep_after, failure, ref)
select $1, id, $3, 'ec2', 'x86_64', 'c7i.2xlarge', $4, $5,
    now() - interval '30 days', $6, $7::jsonb, $8, $9::timestamptz,
    $9::timestamptz + interval '30 minutes', interval '30 minutes', $10, 'i-0f00d'
  from orgs where name = $2
"""
_STEP = """
insert into transitions
    (satellite_id, epoch, event, source, target, at, actor, reason, wake_kind, took, detail)
values ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_DAY = """
insert into satellite_days (satellite_id, day, org_id, name, provisioner, size, running, asleep,
    waking, resumed)
select id, $2, org_id, name, provisioner, size, $3, $4, $5, $6 from satellites where id = $1
"""
_NODE = """
insert into nodes (id, expires_at, leases_until, version, listens, phase, streams, lag)
values ($1, now() + interval '1 hour', now() + interval '1 hour', '0.1.0', $2, 'serving', $3, 0.002)
"""
_LEASE = """
insert into leases (satellite_id, node_id, streams, reported_at) values ($1, $2, $3, now())
"""


class Made(NamedTuple):
    """`satellites` by their full name."""

    satellites: dict[str, UUID]
    node: UUID


class Step(NamedTuple):
    event: str
    source: str
    target: str
    at: datetime
    actor: str = "token:ci"
    reason: str = "request"
    wake_kind: str | None = None
    took: timedelta | None = None
    detail: str = ""


async def add_satellite(
    database: Database,
    full_name: str,
    state: str = "asleep",
    *,
    since: datetime | None = None,
    steps: Sequence[Step] = (),
    labels: dict[str, str] | None = None,
    usual: float | None = 19.0,
    idle: timedelta | None = None,
    failure: str | None = None,
) -> UUID:
    org, name = full_name.split("/")
    satellite_id = uuid4()
    now = datetime.now(UTC)
    await database.execute("insert into orgs (name) values ($1) on conflict do nothing", org)
    await database.execute(
        _SATELLITE,
        satellite_id,
        *(org, name, state, since or now - timedelta(minutes=5)),
        "hibernated" if state == "asleep" else None,
        json.dumps(labels or {}),
        timedelta(seconds=usual) if usual else None,
        now - idle if idle is not None else None,
        failure,
    )
    await _many(database, _STEP, [(satellite_id, *step) for step in steps])
    return satellite_id


async def _many(database: Database, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    async with database.borrowed() as connection:
        await connection.executemany(statement, rows)


async def add_node(database: Database, listens: str = "10.0.0.4:8372", streams: int = 12) -> UUID:
    node = uuid4()
    await database.execute(_NODE, node, listens, streams)
    return node


async def lease(
    database: Database, satellite_id: UUID, node: UUID, caller: str, streams: int
) -> None:
    by = [[caller, "/moby.buildkit.v1.Control/Solve", "10.1.2.3:4000", streams, 40.0]]
    told = json.dumps({"count": streams, "by": by})
    await database.execute(_LEASE, satellite_id, node, told)


async def hold(
    database: Database, node: UUID, held: Sequence[tuple[UUID, str, int, float]]
) -> None:
    told = json.dumps([[str(each[0]), *each[1:]] for each in held])
    await database.execute(
        "insert into node_holds (node_id, held) values ($1, $2) on conflict (node_id)"
        " do update set held = excluded.held, told_at = now()",
        node,
        told,
    )


async def move(
    database: Database, satellite_id: UUID, event: str, target: str, actor: str = "token:ci"
) -> None:
    """A change of state, with its step."""
    await database.execute(
        "with moved as (update satellites set state = $2, state_since = now(), sleep_kind = case"
        " when $2 = 'asleep' then 'hibernated' end where id = $1 returning id, epoch)"
        " insert into transitions (satellite_id, epoch, event, source, target, actor, reason)"
        " select id, epoch, $3, 'asleep', $2, $4, 'request' from moved",
        satellite_id,
        target,
        event,
        actor,
    )


async def move_all(database: Database) -> None:
    """Every satellite wakes, or falls asleep again."""
    await database.execute(
        "with moved as (update satellites set state = case when state = 'waking' then 'asleep'"
        " else 'waking' end, state_since = now() returning id, epoch, state)"
        " insert into transitions (satellite_id, epoch, event, source, target)"
        " select id, epoch, 'wake', 'asleep', state from moved"
    )


# --- a whole one


_NAMES = ("ios", "android", "web", "api", "ml", "infra", "docs", "search", "billing", "edge")
_ORGS = ("acme", "globex", "initech", "umbrella")
_TEAMS = ("core", "mobile", "data")


async def furnish(database: Database, *, seed: int = 7) -> Made:
    """Some forty satellites of four orgs, in every state, with requests that wait."""
    chance = random.Random(seed)
    node = await add_node(database)
    await add_node(database, "10.0.1.7:8372", 3)
    made: dict[str, UUID] = {}
    for number in range(40):
        org, name = _ORGS[number % 4], _NAMES[number // 4]
        made[f"{org}/{name}"] = await _add_one(database, f"{org}/{name}", number, chance)
    for full_name, caller, streams in (
        ("acme/ios", "token:ci", 4),
        ("globex/ios", "user:ann/laptop", 1),
        ("initech/android", "oidc:repo:initech/app", 7),
    ):
        await lease(database, made[full_name], node, caller, streams)
    await hold(
        database,
        node,
        [(made["acme/android"], "token:ci", 3, 9.0), (made["umbrella/web"], "user:bo/mac", 1, 4.0)],
    )
    return Made(made, node)


_STATES = {
    0: "running",
    1: "running",
    6: "running",
    9: "running",
    17: "running",
    25: "running",
    4: "waking",
    11: "waking",
    13: "sleeping",
    22: "failed",
    30: "launching",
}


async def _add_one(database: Database, full_name: str, number: int, chance: random.Random) -> UUID:
    state = _STATES.get(number, "asleep")
    now = datetime.now(UTC)
    steps, moment = _week(chance, now - timedelta(days=7), now - timedelta(minutes=90), number)
    since = moment
    if state != "asleep":
        since = now - timedelta(minutes=chance.uniform(2, 80))
        if state == "waking":
            since = now - timedelta(seconds=9)
        towards = "waking" if state == "running" else state
        steps.append(Step("wake", "asleep", towards, since - timedelta(seconds=17)))
        if state == "running":
            took = timedelta(seconds=17)
            steps.append(Step("woke", "waking", "running", since, "token:ci", "", "resumed", took))
        if state == "failed":
            told = "TPR-2205 The satellite's machine no longer exists: i-0f00d. "
            told += "Run 'satellite repair NAME' to launch a new machine under the same name"
            steps[-1] = Step("lost", "asleep", "failed", since, "reconciler", "drift", detail=told)
    idle = timedelta(minutes=6) if state == "running" and number in (9, 17) else None
    made = await add_satellite(
        database,
        full_name,
        state,
        since=since,
        steps=steps,
        labels={"team": _TEAMS[number % 3]} if number % 2 else {},
        idle=idle,
        failure="TPR-2205 i-0f00d" if state == "failed" else None,
    )
    days = []
    for back in range(30):
        awake = chance.uniform(1, 9) * 3600
        day = (now - timedelta(days=back)).date()
        days.append((made, day, awake, 86400 - awake, 60.0, chance.randrange(1, 6)))
    await _many(database, _DAY, days)
    return made


def _week(
    chance: random.Random, start: datetime, end: datetime, number: int
) -> tuple[list[Step], datetime]:
    steps: list[Step] = []
    moment = start + timedelta(hours=chance.uniform(0, 12))
    slept = start
    while moment < end - timedelta(hours=3):
        took = timedelta(seconds=chance.lognormvariate(2.8, 0.35))
        who = chance.choice(("token:ci", "user:ann/laptop", "oidc:repo:app"))
        kind = "started" if chance.random() < 0.2 else "resumed"
        steps.append(Step("wake", "asleep", "waking", moment, who))
        if number == 7 and chance.random() < 0.3:
            told = "TPR-2202 The cloud has no capacity for this kind of machine right now:"
            told += " c7i.2xlarge in eu-central-1a. Retry in a few minutes, or allow alternative"
            told += " sizes for the satellite"
            slept = moment + took
            refused = Step("wake_refused", "waking", "asleep", slept, who, detail=told)
            steps.append(refused)
        else:
            steps.append(Step("woke", "waking", "running", moment + took, who, "", kind, took))
            awake = timedelta(hours=chance.uniform(0.4, 3.5))
            slept = moment + awake + timedelta(seconds=20)
            steps.append(Step("sleep", "running", "sleeping", moment + awake, "reaper", "idle 30m"))
            steps.append(Step("slept", "sleeping", "asleep", slept, "reaper", ""))
        moment = slept + timedelta(hours=chance.uniform(0.5, 14))
    return steps, slept
