"""Members, tokens, trust rules and the audit log as messages of torpor.v1.

`control.access_views` has the same messages as a client reads them.
"""

from __future__ import annotations

import json

from torpor_router.access.audit import Entry, State
from torpor_router.access.members import Member
from torpor_router.access.oidc.errors import BadTrustRule
from torpor_router.access.oidc.rules import DEFAULT_LIFETIME, NewTrustRule, TrustRule
from torpor_router.access.roles import Grant, Right, Role, role_of_an_org
from torpor_router.access.store import Token
from torpor_router.control import parse
from torpor_router.control.access_views import ROLES
from torpor_router.control.messages import duration_message, time_message
from torpor_router.control.v1 import access_pb2 as pb


def read_role(number: int) -> Role:
    """A role that an org can give.

    Raises:
        UnknownRole: it is none.
    """
    return role_of_an_org(ROLES.word(number) or f"number {number}")


def rights_text(grant: Grant) -> list[str]:
    return [right.name.lower() for right in Right if right in grant.rights]


def token_message(token: Token) -> pb.Token:
    return pb.Token(
        name=token.name,
        role=ROLES.number(Role(token.role)),
        from_before_roles=token.from_before_roles,
        satellites=token.satellites or (),
        member=token.member or "",
        subject=token.subject or "",
        created_at=time_message(token.created_at),
        expires_at=time_message(token.expires_at),
        revoked_at=time_message(token.revoked_at),
        used_at=time_message(token.used_at),
        state=token.state,
        id=str(token.id),
        org=token.org,
    )


def member_message(member: Member) -> pb.Member:
    return pb.Member(
        name=member.name,
        kind=member.kind,
        role=ROLES.number(Role(member.role)),
        created_at=time_message(member.created_at),
        tokens=member.tokens,
        id=str(member.id),
        org=member.org,
    )


def trust_rule_message(rule: TrustRule) -> pb.TrustRule:
    return pb.TrustRule(
        name=rule.name,
        issuer=rule.issuer,
        audience=rule.audience,
        subject=rule.subject,
        claims=rule.claims,
        role=ROLES.number(rule.role),
        satellites=rule.satellites or (),
        lifetime=duration_message(rule.lifetime),
        once=rule.once,
        id=str(rule.id),
        org_id=str(rule.org_id),
        org=rule.org,
    )


def read_trust_rule(request: pb.AddTrustRuleRequest) -> NewTrustRule:
    """
    Raises:
        UnknownRole, BadTrustRule: what is wrong with it.
    """
    rule, role = request.rule, read_role(request.rule.role)
    lifetime = parse.duration(rule.lifetime, BadTrustRule) if rule.HasField("lifetime") else None
    return NewTrustRule(
        name=request.name,
        issuer=rule.issuer,
        audience=rule.audience,
        subject=rule.subject,
        role=role,
        claims=dict(rule.claims),
        satellites=tuple(rule.satellites) or None,
        lifetime=lifetime or DEFAULT_LIFETIME,
        once=rule.once,
    )


def entry_message(entry: Entry) -> pb.Act:
    return pb.Act(
        id=entry.id,
        at=time_message(entry.at),
        org=entry.org,
        actor=entry.actor,
        address=entry.address,
        action=entry.action,
        target=entry.target,
        result=entry.result,
        before=_json(entry.before),
        after=_json(entry.after),
    )


def _json(state: State | None) -> str:
    return "" if state is None else json.dumps(state, sort_keys=True)
