"""Each call of torpor.v1.Access, apart from gRPC: a caller and a request in, a reply out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from torpor_router.access.audit import Audit, State
from torpor_router.access.ca.errors import BadCertificateLifetime
from torpor_router.access.errors import BadLifetime, MoreThanOwn
from torpor_router.access.issuing import Issuing
from torpor_router.access.members import Member, Members
from torpor_router.access.oidc.errors import UnknownGrantType
from torpor_router.access.oidc.exchange import Exchange
from torpor_router.access.oidc.rules import TrustRule
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.roles import Grant, Role, granted
from torpor_router.access.store import Store, Token
from torpor_router.control import parse
from torpor_router.control.access_messages import (
    entry_message,
    member_message,
    read_role,
    read_trust_rule,
    rights_text,
    token_message,
    trust_rule_message,
)
from torpor_router.control.access_views import ROLES
from torpor_router.control.messages import read_time, time_message
from torpor_router.control.ports import Caller
from torpor_router.control.rights import Anyone
from torpor_router.control.v1 import access_pb2 as pb

OVERLAP = timedelta(hours=1)  # that a rotated token lasts beside the new one
_NOT_KEPT = ("id", "org_id", "used_at")  # by the audit log
_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES = "urn:ietf:params:oauth:token-type:"
_SUBJECT_TOKENS = ("", f"{_TYPES}jwt", f"{_TYPES}id_token")


class AccessCalls:
    """Named as in the .proto, in lower case. All raise TorporError."""

    def __init__(
        self,
        store: Store,
        members: Members,
        audit: Audit,
        rules: TrustRules,
        exchange: Exchange,
        *,
        issuing: Issuing,
        domain: str = "",
    ) -> None:
        self._store = store
        self._members = members
        self._audit = audit
        self._rules = rules
        self._exchange = exchange
        self._issuing = issuing
        self._domain = domain

    async def whoami(self, caller: Caller, _: pb.WhoAmIRequest) -> pb.WhoAmIReply:
        return pb.WhoAmIReply(
            org=caller.org,
            caller=caller.name,
            rights=rights_text(caller.grant),
            satellites=sorted(caller.grant.satellites or ()),
            domain=self._domain,
        )

    async def createtoken(
        self, caller: Caller, request: pb.CreateTokenRequest
    ) -> pb.CreateTokenReply:
        role, satellites = _given(caller, request)
        token, text = await self._store.create_token(
            caller.org,
            request.name,
            _length(request, "lifetime"),
            role=role,
            satellites=satellites,
            member=request.member or None,
        )
        return pb.CreateTokenReply(token=token_message(token), text=text)

    async def listtokens(self, caller: Caller, request: pb.ListTokensRequest) -> pb.ListTokensReply:
        tokens = await self._store.tokens(caller.org or None, revoked=request.revoked)
        return pb.ListTokensReply(tokens=map(token_message, tokens))

    async def narrowtoken(
        self, caller: Caller, request: pb.NarrowTokenRequest
    ) -> pb.NarrowTokenReply:
        role, satellites = _given(caller, request)
        await self._check_covers_token(caller, request.name)
        token = await self._store.narrow_token(caller.org, request.name, role, satellites)
        return pb.NarrowTokenReply(token=token_message(token))

    async def rotatetoken(
        self, caller: Caller, request: pb.RotateTokenRequest
    ) -> pb.RotateTokenReply:
        await self._check_covers_token(caller, request.name)
        overlap = _length(request, "overlap")
        token, text = await self._store.rotate_token(
            caller.org,
            request.name,
            OVERLAP if overlap is None else overlap,
            _length(request, "lifetime"),
        )
        return pb.RotateTokenReply(token=token_message(token), text=text)

    async def revoketoken(
        self, caller: Caller, request: pb.RevokeTokenRequest
    ) -> pb.RevokeTokenReply:
        await self._check_covers_token(caller, request.name)
        token = await self._store.revoke_token(caller.org, request.name)
        return pb.RevokeTokenReply(token=token_message(token))

    async def addmember(self, caller: Caller, request: pb.AddMemberRequest) -> pb.AddMemberReply:
        member = await self._members.add(
            caller.org, request.name, _role(caller, request.role), service=request.service
        )
        return pb.AddMemberReply(member=member_message(member))

    async def listmembers(self, caller: Caller, _: pb.ListMembersRequest) -> pb.ListMembersReply:
        members = await self._members.all(caller.org)
        return pb.ListMembersReply(members=map(member_message, members))

    async def changemember(
        self, caller: Caller, request: pb.ChangeMemberRequest
    ) -> pb.ChangeMemberReply:
        role = _role(caller, request.role)
        member = await self._members.change(caller.org, request.name, role)
        return pb.ChangeMemberReply(member=member_message(member))

    async def removemember(
        self, caller: Caller, request: pb.RemoveMemberRequest
    ) -> pb.RemoveMemberReply:
        _check_covers(caller, granted([]))
        member = await self._members.remove(caller.org, request.name)
        return pb.RemoveMemberReply(member=member_message(member))

    async def exchange(self, caller: Anyone, request: pb.ExchangeRequest) -> pb.ExchangeReply:
        if (
            request.grant_type not in ("", _GRANT)
            or request.subject_token_type not in _SUBJECT_TOKENS
        ):
            raise UnknownGrantType(f"{request.grant_type} {request.subject_token_type}"[:200])
        given = await self._exchange.exchange(
            request.subject_token, request.audience, caller.address
        )
        return pb.ExchangeReply(
            access_token=given.token,
            issued_token_type=f"{_TYPES}access_token",
            token_type="Bearer",  # noqa: S106 - the word of RFC 6750
            expires_in=int(given.lifetime),
            org=given.org,
            role=ROLES.number(Role(given.role)),
        )

    async def addtrustrule(
        self, caller: Caller, request: pb.AddTrustRuleRequest
    ) -> pb.AddTrustRuleReply:
        new = read_trust_rule(request)
        _check_covers(caller, granted([new.role], new.satellites))
        return pb.AddTrustRuleReply(rule=trust_rule_message(await self._rules.add(caller.org, new)))

    async def listtrustrules(
        self, caller: Caller, _: pb.ListTrustRulesRequest
    ) -> pb.ListTrustRulesReply:
        rules = await self._rules.all(caller.org)
        return pb.ListTrustRulesReply(rules=map(trust_rule_message, rules))

    async def removetrustrule(
        self, caller: Caller, request: pb.RemoveTrustRuleRequest
    ) -> pb.RemoveTrustRuleReply:
        _check_covers(caller, granted([]))
        removed = await self._rules.remove(caller.org, request.name)
        return pb.RemoveTrustRuleReply(rule=trust_rule_message(removed))

    async def issuecertificate(
        self, caller: Caller, request: pb.IssueCertificateRequest
    ) -> pb.IssueCertificateReply:
        satellite = request.name or None
        if satellite is not None:
            caller.grant.check_satellite(parse.name(satellite))
        lives = (
            parse.duration(request.lifetime, BadCertificateLifetime)
            if request.HasField("lifetime")
            else None
        )
        signed = await self._issuing.for_token(caller, request.request, satellite, lives)
        return pb.IssueCertificateReply(
            certificate=signed.pem,
            serial=signed.serial,
            subject=signed.subject,
            expires_at=time_message(signed.ends),
        )

    async def listaudit(self, caller: Caller, request: pb.ListAuditRequest) -> pb.ListAuditReply:
        limit = parse.limit(request.limit, default=parse.DEFAULT_ACTS)
        entries = await self._audit.read(
            caller.org or request.org or None,
            since=_time(request, "since"),
            until=_time(request, "until"),
            after=request.after,
            limit=limit,
        )
        return pb.ListAuditReply(acts=map(entry_message, entries))

    async def snapshot(self, caller: Caller, request: Any) -> State | None:
        """What the audit log keeps of the token, member or rule that a request names."""
        kind = type(request).__name__
        if kind == "IssueCertificateRequest":
            return None  # its record says more, and stays as long
        if kind.endswith("TokenRequest"):
            token = await self._store.token(caller.org, request.name)
            return None if token is None else _state(token)
        those: Sequence[Member | TrustRule]
        if kind.endswith("TrustRuleRequest"):
            those = await self._rules.all(caller.org)
        else:
            those = await self._members.all(caller.org)
        return next((_state(each) for each in those if each.name == request.name), None)

    async def _check_covers_token(self, caller: Caller, name: str) -> None:
        token = await self._store.token(caller.org, name)
        if token is not None:
            _check_covers(caller, token.grant)


def _given(
    caller: Caller, request: pb.CreateTokenRequest | pb.NarrowTokenRequest
) -> tuple[Role, list[str] | None]:
    satellites = list(request.satellites) or None
    return _role(caller, request.role, satellites), satellites


def _role(caller: Caller, number: int, satellites: list[str] | None = None) -> Role:
    role = read_role(number)
    _check_covers(caller, granted([role], satellites))
    return role


def _check_covers(caller: Caller, grant: Grant) -> None:
    """An operator, who does not build, still gives that right to others."""
    if caller.name.partition(":")[0] == Role.OPERATOR:
        return
    if not caller.grant.covers(grant):
        raise MoreThanOwn


def _length(request: Any, field: str) -> timedelta | None:
    if not request.HasField(field):
        return None
    return parse.duration(getattr(request, field), BadLifetime)


def _time(request: pb.ListAuditRequest, field: str) -> datetime | None:
    return read_time(getattr(request, field)) if request.HasField(field) else None  # type: ignore[arg-type]


def _state(found: Token | Member | TrustRule) -> State:
    kept = dataclasses.asdict(found)
    return {key: _plain(value) for key, value in kept.items() if key not in _NOT_KEPT}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, timedelta) else value
