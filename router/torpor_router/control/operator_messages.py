"""Orgs, nodes, pauses and stray machines as messages of torpor.v1.Operators, in both directions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import SleepKind
from torpor_router.access.removal import Belongings
from torpor_router.access.store import Org
from torpor_router.control.messages import SLEEP_KINDS, STATES, read_time, time_message
from torpor_router.control.v1 import operators_pb2 as pb
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.limits import Limits, OrgLimits
from torpor_statemachine.store.listing import Listed
from torpor_statemachine.store.node_list import NodeSeen
from torpor_statemachine.store.pauses import Pause
from torpor_statemachine.store.strays import Stray


def org_message(org: Org) -> pb.Org:
    return pb.Org(
        id=str(org.id),
        name=org.name,
        created_at=time_message(org.created_at),
        tokens=org.tokens,
        satellites=org.satellites,
    )


def read_org(message: pb.Org) -> Org:
    return Org(
        UUID(message.id),
        message.name,
        read_time(message.created_at),
        message.tokens,
        message.satellites,
    )


def belongings_message(has: Belongings) -> pb.Belongings:
    return pb.Belongings(
        id=str(has.id),
        name=has.name,
        satellite_ids=map(str, has.satellite_ids),
        satellites=has.satellites,
        tokens=has.tokens,
        members=has.members,
        trust_rules=has.trust_rules,
        certificates=has.certificates,
    )


def read_belongings(message: pb.Belongings) -> Belongings:
    return Belongings(
        id=UUID(message.id),
        name=message.name,
        satellite_ids=[UUID(each) for each in message.satellite_ids],
        satellites=list(message.satellites),
        tokens=message.tokens,
        members=message.members,
        trust_rules=message.trust_rules,
        certificates=message.certificates,
    )


def entry_message(listed: Listed) -> pb.FleetEntry:
    return pb.FleetEntry(
        id=str(listed.id),
        name=listed.name,
        state=STATES.number(State(listed.state)),
        state_since=time_message(listed.state_since),
        provisioner=listed.provisioner,
        sleep_kind=SLEEP_KINDS.number(SleepKind(listed.sleep_kind) if listed.sleep_kind else None),
        idle_since=time_message(listed.idle_since),
        failure=listed.failure or "",
        claimed_by=str(listed.claimed_by or ""),
        leased_by=map(str, listed.leased_by),
        seen_at=time_message(listed.seen_at),
    )


def read_entry(message: pb.FleetEntry) -> Listed:
    """A state that a newer router has is "unknown"."""
    return Listed(
        id=UUID(message.id),
        name=message.name,
        state=STATES.word(message.state) or "unknown",
        state_since=read_time(message.state_since),
        provisioner=message.provisioner,
        sleep_kind=SLEEP_KINDS.word(message.sleep_kind),
        idle_since=_time(message, "idle_since"),
        failure=message.failure or None,
        claimed_by=UUID(message.claimed_by) if message.claimed_by else None,
        leased_by=[UUID(each) for each in message.leased_by],
        seen_at=read_time(message.seen_at),
    )


def node_message(node: NodeSeen) -> pb.Node:
    return pb.Node(
        id=str(node.id),
        listens=node.listens or "",
        version=node.version or "",
        started_at=time_message(node.started_at),
        state=node.state,
        leases=node.leases,
        streams=node.streams,
        lag=node.lag,
        expires_at=time_message(node.expires_at),
        read_at=time_message(node.read_at),
    )


def read_node(message: pb.Node) -> NodeSeen:
    return NodeSeen(
        id=UUID(message.id),
        listens=message.listens or None,
        version=message.version or None,
        started_at=read_time(message.started_at),
        state=message.state,
        leases=message.leases,
        streams=message.streams if message.HasField("streams") else None,
        lag=message.lag if message.HasField("lag") else None,
        expires_at=read_time(message.expires_at),
        read_at=read_time(message.read_at),
    )


def limits_message(limits: OrgLimits) -> pb.Limits:
    return pb.Limits(
        org=limits.org,
        machines=limits.machines,
        awake=limits.awake,
        wakes_per_hour=limits.wakes_per_hour,
        set_by=limits.set_by,
        set_at=time_message(limits.set_at),
        machines_now=limits.machines_now,
        awake_now=limits.awake_now,
    )


def read_limits(message: pb.Limits) -> OrgLimits:
    return OrgLimits(
        org=message.org,
        **asdict(limits_of(message)),
        set_by=message.set_by,
        set_at=read_time(message.set_at),
        machines_now=message.machines_now,
        awake_now=message.awake_now,
    )


def limits_of(message: pb.Limits | pb.SetLimitsRequest) -> Limits:
    """
    Raises:
        BadLimits: a number that cannot be meant.
    """
    return Limits(
        machines=message.machines if message.HasField("machines") else None,
        awake=message.awake if message.HasField("awake") else None,
        wakes_per_hour=message.wakes_per_hour if message.HasField("wakes_per_hour") else None,
    )


def pause_message(pause: Pause) -> pb.SleepPause:
    return pb.SleepPause(
        org=pause.org or "",
        until=time_message(pause.until),
        reason=pause.reason,
        actor=pause.actor,
        made_at=time_message(pause.made_at),
        read_at=time_message(pause.read_at),
    )


def read_pause(message: pb.SleepPause) -> Pause:
    return Pause(
        org=message.org or None,
        until=read_time(message.until),
        reason=message.reason,
        actor=message.actor,
        made_at=read_time(message.made_at),
        read_at=read_time(message.read_at),
    )


def stray_message(stray: Stray) -> pb.Stray:
    return pb.Stray(
        provisioner=stray.provisioner,
        ref=stray.ref,
        satellite_id=str(stray.satellite_id),
        generation=stray.generation,
        first_seen=time_message(stray.first_seen),
        ending=stray.ending,
        read_at=time_message(stray.read_at),
    )


def read_stray(message: pb.Stray) -> Stray:
    return Stray(
        provisioner=message.provisioner,
        ref=message.ref,
        satellite_id=UUID(message.satellite_id),
        generation=message.generation,
        first_seen=read_time(message.first_seen),
        ending=message.ending,
        read_at=read_time(message.read_at),
    )


def _time(message: Any, field: str) -> datetime | None:
    return read_time(getattr(message, field)) if message.HasField(field) else None
