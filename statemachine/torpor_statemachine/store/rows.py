"""Rows as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torpor_provisioner.contract import Address, Arch, SleepKind
from torpor_statemachine.lifecycle.satellite import Satellite, Transition, Wanted
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind
from torpor_statemachine.postgres.pool import Record

# Of `s`, joined with `orgs`. What is left of a claim is told after any wait for a lock: now()
# stands still in a transaction.
COLUMNS = """
    s.*, orgs.name as org,
    extract(epoch from s.claim_deadline - clock_timestamp())::float8 as claim_left,
    extract(epoch from now() - s.state_since)::float8 as state_age,
    extract(epoch from s.retry_at - now())::float8 as retry_in
"""


def satellite(row: Record) -> Satellite:
    """The row of a query for `COLUMNS`."""
    return Satellite(
        id=row["id"],
        org_id=row["org_id"],
        org=row["org"],
        name=row["name"],
        provisioner=row["provisioner"],
        arch=Arch(row["arch"]),
        size=row["size"],
        sleep_mode=SleepMode(row["sleep_mode"]),
        sleep_after=row["sleep_after"],
        state=State(row["state"]),
        state_since=row["state_since"],
        state_age=row["state_age"],
        created_at=row["created_at"],
        generation=row["generation"],
        epoch=row["epoch"],
        settings=_settings(row["settings"]),
        labels=_settings(row["labels"]),
        schedule=row["schedule"],
        awake_until=row["awake_until"],
        wanted=_wanted(row["wanted"]),
        claimed_by=row["claimed_by"],
        claim_left=max(0.0, row["claim_left"] or 0.0),
        ref=row["ref"],
        address=Address(row["host"], row["port"]) if row["host"] else None,
        sleep_kind=SleepKind(row["sleep_kind"]) if row["sleep_kind"] else None,
        sleep_called=row["sleep_called"],
        wake_requested=row["wake_requested"],
        wake_kind=WakeKind(row["wake_kind"]) if row["wake_kind"] else None,
        usual_wake=row["usual_wake"],
        boot_id=row["boot_id"],
        stops_next=row["stops_next"],
        memory_expired=row["memory_expired"],
        idle_since=row["idle_since"],
        failure=row["failure"],
        obstacle=row["obstacle"] if row["claimed_by"] else None,
        retry_in=max(0.0, row["retry_in"] or 0.0),
    )


def transition(row: Record) -> Transition:
    """A row of `transitions`."""
    return Transition(
        id=row["id"],
        satellite_id=row["satellite_id"],
        epoch=row["epoch"],
        event=row["event"],
        source=State(row["source"]),
        target=State(row["target"]),
        at=row["at"],
        node_id=row["node_id"],
        actor=row["actor"],
        reason=row["reason"],
        wake_kind=WakeKind(row["wake_kind"]) if row["wake_kind"] else None,
        took=row["took"],
        detail=row["detail"],
    )


def as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _settings(text: str) -> Mapping[str, str]:
    kept: Mapping[str, str] = json.loads(text)
    return kept


def _wanted(text: str | None) -> Wanted | None:
    if text is None:
        return None
    kept = json.loads(text)
    return Wanted(kept["size"], kept["settings"], kept.get("by", ""))
