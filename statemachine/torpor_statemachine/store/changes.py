"""The one statement by which a satellite changes its state, and what each event sets besides.

Every change names the epoch and the state that its writer saw, is logged in `transitions` by the
same statement, and ends the leases on the satellite: none outlives the state it was taken in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.errors import storable
from torpor_statemachine.lifecycle.machine import Event, target
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.postgres.pool import Record
from torpor_statemachine.store import rows

_CHANGE = f"""
with {{first}}changed as (
    update satellites set
        state = :target,
        state_since = case when state = :target then state_since else now() end,
        obstacle = null,
        timeline = server_timeline(),
        {{sets}}
    where {{which}} and state = :source {{guard}}
    returning *
), told as (
    insert into transitions (satellite_id, epoch, event, source, target, node_id,
        actor, reason, wake_kind, took, detail)
    select id, epoch, :event, :source, :target, :node,
        :actor, {{reason}}, :wake_kind, now() - :began::timestamptz, :detail
    from changed
    returning id as transition_id, satellite_id, at, took, reason
), ended as (
    delete from leases using changed where satellite_id = changed.id
)
select {rows.COLUMNS}, told.transition_id, told.at, told.took, told.reason
from changed s join orgs on orgs.id = s.org_id join told on told.satellite_id = s.id
"""


@dataclass(frozen=True, slots=True)
class _Which:
    """The rows that a change is meant for. `first`: what comes before it, in the same statement."""

    rows: str
    reason: str = ":reason"
    first: str = ""


_ONE = _Which("id = :id and epoch = :epoch")
# Rows that another session has locked are passed by: it puts them to sleep, or has just wanted them
_IDLE = _Which(
    "id = any(array(select id from due)) and sleep_due <= now()",
    "(select reason from due where due.id = changed.id)",
    """due as materialized (
    select s.id, asked.reason
    from satellites s
    join unnest(:ids::uuid[], :epochs::bigint[], :reasons::text[]) as asked (id, epoch, reason)
        on asked.id = s.id and asked.epoch = s.epoch
    where s.state = :source and s.claimed_by is null
        and pg_postmaster_start_time() = :server::timestamptz
    for update of s skip locked
), """,
)
# Under its lock a node's row cannot be renewed: who finds it over takes its claims before it lives
# again, and a renewal that comes after sees that they are lost.
_ABANDONED = _Which(
    _ONE.rows,
    first="""claimant as materialized (
    select expires_at > now() as lives from nodes where id = :claimant for no key update
), """,
)

# A claim needs a living node behind it, or nobody would notice that it was left undone.
_CLAIM = """
        epoch = epoch + 1, claimed_by = :node, claim_deadline = now() + :budget::interval,
        idle_since = null, sleep_due = null"""
_LIVES = """
        and exists (select from nodes where nodes.id = :node and nodes.expires_at > now())"""
_UNCLAIMED = f"and claimed_by is null {_LIVES}"
# A lease is taken by a write of the satellite's row. While one is being taken this waits for it,
# and looks again, with a new snapshot, when it has the row.
# After a failover leases may be missing that a node with their streams is yet to take again.
# And a clock that was set forth shows all leases ended, all nodes dead and all claims late.
_IN_TIME = "extract(epoch from now()) <= :latest::float8"
_UNLEASED = f"and (:force or not leased_now(id) and server_settled() and {_IN_TIME})"
# A change that was asked for is not tried again and again
_FORGET = "wanted = null"
_RELEASE = "claimed_by = null, claim_deadline = null"
_MINE = "and claimed_by = :node"
# Seen from outside, under no claim: what was believed is wrong, so the epoch goes up
_SEEN = "epoch = epoch + 1"
_RESTS = "and claimed_by is null"

_AWAKE = """
        idle_since = now(), sleep_due = now() + case when wanted is null and not stops_next
            then greatest(sleep_after, :after_wake::interval) else :after_wake::interval end,
        sleep_kind = null, sleep_called = false, wake_requested = false, memory_expired = false"""
_ARRIVED = f"""{_RELEASE}, {_AWAKE},
        host = :host, port = :port, wake_kind = :wake_kind, boot_id = :boot_id,
        failure = null, failures = 0, retry_at = null,
        usual_wake = case when :learned::boolean
            then greatest(now() - state_since, usual_wake * 0.9) else usual_wake end"""
_BACK_OFF = """
        failure = :failure, failures = failures + 1,
        retry_at = now() + least(:longest_back_off::interval,
            :first_back_off::interval * power(2, least(failures, 20)))"""
# One that failed may have been slow: the next has twice the time
_WAKE_BUDGET = """
        now() + least(:longest::interval,
            greatest(:shortest::interval, usual_wake * :factor::float8)
            * power(2, least(failures, 20)))"""

_FOUND = f"{_SEEN}, {_AWAKE}, host = :host, port = :port, boot_id = null"

_SETS: dict[Event, tuple[str, str]] = {
    Event.TOOK_OVER: (
        "epoch = epoch + 1, claimed_by = :node, claim_deadline = now() + :budget::interval",
        f"""and claimed_by is not null and (
            claimed_by = :node
            or {_IN_TIME} and (
                claim_deadline < now() or not exists (select from claimant where lives)))""",
    ),
    Event.WAKE: (
        f"""epoch = epoch + 1, claimed_by = :node, claim_deadline = {_WAKE_BUDGET},
        failure = null, wake_requested = false, stops_next = :stops_next""",
        f"""{_UNCLAIMED} and (retry_at is null or retry_at <= now())
        and limit_reached(org_id, id) is null""",
    ),
    Event.WOKE: (_ARRIVED, _MINE),
    Event.WAKE_REFUSED: (f"{_RELEASE}, {_BACK_OFF}, {_FORGET}", _MINE),
    Event.WAKE_FAILED: (
        f"{_CLAIM}, {_BACK_OFF}, {_FORGET}, sleep_called = true, wake_requested = false",
        _MINE,
    ),
    Event.SLEEP: (
        f"{_CLAIM}, sleep_called = false, wake_requested = false, failure = null",
        f"{_UNCLAIMED} {_UNLEASED}",
    ),
    Event.SLEPT: (
        f"""{_RELEASE}, sleep_kind = :sleep_kind, sleep_called = false,
        memory_expired = stops_next, stops_next = false""",
        _MINE,
    ),
    Event.SLEEP_ABANDONED: (f"{_RELEASE}, {_AWAKE}", _MINE),
    Event.SLEEP_FAILED: (f"{_RELEASE}, {_AWAKE}, {_FORGET}, failure = :failure", _MINE),
    Event.LAUNCHED: (_ARRIVED, _MINE),
    Event.LAUNCH_FAILED: (f"{_RELEASE}, failure = :failure", _MINE),
    Event.REPAIR: (
        f"""{_CLAIM}, generation = generation + 1, ref = null, host = null, port = null,
        sleep_kind = null, failure = null, failures = 0, retry_at = null, usual_wake = null,
        boot_id = null, stops_next = false, memory_expired = false""",
        _UNCLAIMED,
    ),
    Event.UPDATE: (f"{_CLAIM}, wanted = :wanted, failure = null", _UNCLAIMED),
    Event.UPDATED: (
        f"""{_RELEASE}, size = wanted ->> 'size', settings = wanted -> 'settings',
        wanted = null, wake_requested = wake_requested or coalesce(awake_until > now(), false)""",
        _MINE,
    ),
    Event.UPDATE_FAILED: (f"{_RELEASE}, {_FORGET}, failure = :failure", _MINE),
    Event.CORRECTED: (f"{_SEEN}, size = :size, settings = :settings", _RESTS),
    Event.GIVE_UP: (_CLAIM, _LIVES),  # of any node's claim: the epoch ends it
    Event.TERMINATE: (f"{_CLAIM}, {_FORGET}", f"{_UNCLAIMED} {_UNLEASED}"),
    Event.TERMINATE_FAILED: (f"{_RELEASE}, failure = :failure", _MINE),
    Event.ENDED: (f"{_RELEASE}, failure = null", _MINE),
    Event.FOUND_ASLEEP: (
        f"{_SEEN}, sleep_kind = :sleep_kind, idle_since = null, sleep_due = null",
        _RESTS,
    ),
    Event.FOUND_RUNNING: (_FOUND, _RESTS),
    Event.MOVED: (_FOUND, _RESTS),
    Event.LOST: (
        f"""{_SEEN}, {_RELEASE}, {_FORGET}, failure = :failure,
        idle_since = null, sleep_due = null""",
        "and claimed_by is not distinct from :claimed_by",
    ),
}


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose doing a change is, and why."""

    node_id: UUID
    actor: str
    reason: str


class Due(NamedTuple):
    """A satellite that was seen idle for long enough, and the words for that."""

    id: UUID
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that took effect: the satellite after it, its row in the log, and when it was
    asked for by this node's clock: its answer may have come much later."""

    satellite: Satellite
    transition: Transition
    asked_at: float


class Queryable(Protocol):
    """The database, or a connection in the middle of a transaction."""

    async def fetchrow(self, sql: str, *values: Any) -> Record | None: ...

    async def fetch(self, sql: str, *values: Any) -> list[Record]: ...


async def change(
    on: Queryable,
    satellite: Satellite,
    event: Event,
    by: Attribution,
    *,
    wake_kind: WakeKind | None = None,
    detail: str = "",
    **values: Any,
) -> Changed | None:
    """Let `event` happen to the satellite as it was seen; None if it is so no longer.

    `values` are what the event's own SET clause names. A completing event is logged with the time
    since its claim.
    """
    given = _given(satellite.state, event, by) | {
        "id": satellite.id,
        "epoch": satellite.epoch,
        "wake_kind": wake_kind.value if wake_kind else None,
        "began": satellite.state_since if satellite.claimed_by else None,
        "detail": storable(detail),
        **values,
    }
    sql, names = _statement(event, _which(event))
    asked_at = clock.now()
    row = await on.fetchrow(sql, *(given[name] for name in names))
    return _changed(row, given, by, asked_at) if row is not None else None


async def claim_idle(
    on: Queryable, due: Sequence[Due], by: Attribution, **values: Any
) -> list[Changed]:
    """Claim those of `due` for sleep that are still as they were seen."""
    given = _given(State.RUNNING, Event.SLEEP, by) | {
        "ids": [each.id for each in due],
        "epochs": [each.epoch for each in due],
        "reasons": [each.reason for each in due],
        "force": False,
        "wake_kind": None,
        "began": None,
        "detail": "",
        **values,
    }
    sql, names = _statement(Event.SLEEP, _IDLE)
    asked_at = clock.now()
    found = await on.fetch(sql, *(given[name] for name in names))
    return [_changed(row, given, by, asked_at) for row in found]


def _given(source: State, event: Event, by: Attribution) -> dict[str, Any]:
    reached = source if event is Event.TOOK_OVER else target(event, source)
    return {
        "event": event.value,
        "source": source.value,
        "target": reached.value,
        "node": by.node_id,
        "actor": by.actor,
        "reason": by.reason,
        "latest": inf,
    }


def _changed(row: Record, given: dict[str, Any], by: Attribution, asked_at: float) -> Changed:
    after = rows.satellite(row)
    kind = given["wake_kind"]
    transition = Transition(
        id=row["transition_id"],
        satellite_id=after.id,
        epoch=after.epoch,
        event=given["event"],
        source=State(given["source"]),
        target=after.state,
        at=row["at"],
        node_id=by.node_id,
        actor=by.actor,
        reason=row["reason"],
        wake_kind=WakeKind(kind) if kind else None,
        took=row["took"],
        detail=given["detail"],
    )
    return Changed(after, transition, asked_at)


def statements() -> Iterator[tuple[str, str]]:
    """Every statement by the name of its event, as it reads: its parameters have names here."""
    for event in _SETS:
        if event is Event.SLEEP:
            yield f"{event} (many that are idle)", _readable(_written(event, _IDLE))
        yield event.value, _readable(_written(event, _which(event)))


def _which(event: Event) -> _Which:
    return _ABANDONED if event is Event.TOOK_OVER else _ONE


def _written(event: Event, which: _Which) -> str:
    sets, guard = _SETS[event]
    return _CHANGE.format(
        first=which.first, which=which.rows, reason=which.reason, sets=sets, guard=guard
    )


def _readable(sql: str) -> str:
    return "\n".join(line.rstrip() for line in sql.strip().splitlines() if line.strip())


@cache
def _statement(event: Event, which: _Which) -> tuple[str, tuple[str, ...]]:
    """The event's statement with Postgres's numbered parameters, and their names in order."""
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}{_TYPES.get(name, '')}"

    return re.sub(r"(?<!:):([a-z_]+)", numbered, _written(event, which)), tuple(names)


# What Postgres cannot tell from where a parameter stands (it may stand in several places)
_TYPES = {"target": "::text", "source": "::text", "node": "::uuid", "wake_kind": "::text"}
