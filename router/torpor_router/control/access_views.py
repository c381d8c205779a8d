"""Tokens, members, trust rules and acts, as a client of torpor.v1.Access reads them.

Their fields are those of what a router reads from its database (`access.store.Token` and so on),
so that an org's admin and an operator see the same. An id is "" where an older router sends none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from torpor_router.access.roles import Role
from torpor_router.control.messages import Words, read_time
from torpor_router.control.v1 import access_pb2 as pb

ROLES = Words(Role, pb.Role.Value, "ROLE")


@dataclass(frozen=True, slots=True)
class TokenView:
    """See `access.store.Token`."""

    id: str
    org: str
    name: str
    role: Role | None
    from_before_roles: bool
    satellites: Sequence[str] | None
    member: str | None
    subject: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    state: str

    @classmethod
    def of(cls, message: pb.Token) -> TokenView:
        return cls(
            id=message.id,
            org=message.org,
            name=message.name,
            role=ROLES.word(message.role),
            from_before_roles=message.from_before_roles,
            satellites=list(message.satellites) or None,
            member=message.member or None,
            subject=message.subject or None,
            created_at=read_time(message.created_at),
            expires_at=_time(message, "expires_at"),
            revoked_at=_time(message, "revoked_at"),
            used_at=_time(message, "used_at"),
            state=message.state,
        )


@dataclass(frozen=True, slots=True)
class ExchangeView:
    """See `ExchangeReply` in the .proto. `expires_in` is in seconds."""

    access_token: str = field(repr=False)
    token_type: str
    expires_in: int
    org: str
    role: Role | None

    @classmethod
    def of(cls, message: pb.ExchangeReply) -> ExchangeView:
        return cls(
            message.access_token,
            message.token_type,
            message.expires_in,
            message.org,
            ROLES.word(message.role),
        )


@dataclass(frozen=True, slots=True)
class MemberView:
    """See `access.members.Member`."""

    id: str
    org: str
    name: str
    kind: str
    role: Role | None
    created_at: datetime
    tokens: int

    @classmethod
    def of(cls, message: pb.Member) -> MemberView:
        return cls(
            id=message.id,
            org=message.org,
            name=message.name,
            kind=message.kind,
            role=ROLES.word(message.role),
            created_at=read_time(message.created_at),
            tokens=message.tokens,
        )


@dataclass(frozen=True, slots=True)
class TrustRuleView:
    """See `access.oidc.rules.TrustRule`."""

    id: str
    org_id: str
    org: str
    name: str
    issuer: str
    audience: str
    subject: str
    claims: Mapping[str, str]
    role: Role | None
    satellites: Sequence[str] | None
    lifetime: timedelta
    once: bool

    @classmethod
    def of(cls, message: pb.TrustRule) -> TrustRuleView:
        return cls(
            id=message.id,
            org_id=message.org_id,
            org=message.org,
            name=message.name,
            issuer=message.issuer,
            audience=message.audience,
            subject=message.subject,
            claims=dict(message.claims),
            role=ROLES.word(message.role),
            satellites=list(message.satellites) or None,
            lifetime=message.lifetime.ToTimedelta(),
            once=message.once,
        )


@dataclass(frozen=True, slots=True)
class ActView:
    """See `access.audit.Entry`."""

    id: int
    at: datetime
    org: str
    actor: str
    address: str
    action: str
    target: str
    result: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @classmethod
    def of(cls, message: pb.Act) -> ActView:
        return cls(
            id=message.id,
            at=read_time(message.at),
            org=message.org,
            actor=message.actor,
            address=message.address,
            action=message.action,
            target=message.target,
            result=message.result,
            before=json.loads(message.before) if message.before else None,
            after=json.loads(message.after) if message.after else None,
        )


def _time(token: pb.Token, field: str) -> datetime | None:
    return read_time(getattr(token, field)) if token.HasField(field) else None  # type: ignore[arg-type]
