"""Each call of torpor.v1.Access, apart from gRPC: a caller and a request in, a reply out."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from torpor_router.access.audit import Audit, State
from torpor_router.access.errors import BadLifetime, MoreThanOwn, UnknownRole
from torpor_router.access.members import Member, Members
from torpor_router.access.roles import Grant, Role, granted
from torpor_router.access.store import Store, Token
from torpor_router.control import requests
from torpor_router.control.access_convert import (
    ROLES,
    told_entry,
    told_member,
    told_rights,
    told_token,
)
from torpor_router.control.convert import read_time
from torpor_router.control.needs import Caller
from torpor_router.control.v1 import access_pb2 as pb


class AccessCalls:
    """Named as in the .proto, in lower case. All raise TorporError."""

    def __init__(self, store: Store, members: Members, audit: Audit) -> None:
        self._store = store
        self._members = members
        self._audit = audit

    async def whoami(self, caller: Caller, _: pb.WhoAmIRequest) -> pb.WhoAmIReply:
        return pb.WhoAmIReply(
            org=caller.org,
            caller=caller.name,
            rights=told_rights(caller.grant),
            satellites=sorted(caller.grant.satellites or ()),
        )

    async def createtoken(
        self, caller: Caller, request: pb.CreateTokenRequest
    ) -> pb.CreateTokenReply:
        role, satellites = _given(caller, request)
        token, text = await self._store.create_token(
            caller.org,
            request.name,
            _lifetime(request),
            role=role,
            satellites=satellites,
            member=request.member or None,
        )
        return pb.CreateTokenReply(token=told_token(token), text=text)

    async def listtokens(self, caller: Caller, request: pb.ListTokensRequest) -> pb.ListTokensReply:
        tokens = await self._store.tokens(caller.org, revoked=request.revoked)
        return pb.ListTokensReply(tokens=map(told_token, tokens))

    async def narrowtoken(
        self, caller: Caller, request: pb.NarrowTokenRequest
    ) -> pb.NarrowTokenReply:
        role, satellites = _given(caller, request)
        await self._check_covers_token(caller, request.name)
        token = await self._store.narrow_token(caller.org, request.name, role, satellites)
        return pb.NarrowTokenReply(token=told_token(token))

    async def revoketoken(
        self, caller: Caller, request: pb.RevokeTokenRequest
    ) -> pb.RevokeTokenReply:
        await self._check_covers_token(caller, request.name)
        token = await self._store.revoke_token(caller.org, request.name)
        return pb.RevokeTokenReply(token=told_token(token))

    async def addmember(self, caller: Caller, request: pb.AddMemberRequest) -> pb.AddMemberReply:
        member = await self._members.add(
            caller.org, request.name, _role(caller, request.role), service=request.service
        )
        return pb.AddMemberReply(member=told_member(member))

    async def listmembers(self, caller: Caller, _: pb.ListMembersRequest) -> pb.ListMembersReply:
        members = await self._members.all(caller.org)
        return pb.ListMembersReply(members=map(told_member, members))

    async def changemember(
        self, caller: Caller, request: pb.ChangeMemberRequest
    ) -> pb.ChangeMemberReply:
        role = _role(caller, request.role)
        member = await self._members.change(caller.org, request.name, role)
        return pb.ChangeMemberReply(member=told_member(member))

    async def removemember(
        self, caller: Caller, request: pb.RemoveMemberRequest
    ) -> pb.RemoveMemberReply:
        _check_covers(caller, granted([]))
        member = await self._members.remove(caller.org, request.name)
        return pb.RemoveMemberReply(member=told_member(member))

    async def listaudit(self, caller: Caller, request: pb.ListAuditRequest) -> pb.ListAuditReply:
        limit = requests.limit(request.limit, default=requests.DEFAULT_ACTS)
        entries = await self._audit.read(
            caller.org,
            since=_time(request, "since"),
            until=_time(request, "until"),
            after=request.after,
            limit=limit,
        )
        return pb.ListAuditReply(acts=map(told_entry, entries))

    async def snapshot(self, caller: Caller, request: Any) -> State | None:
        """What the audit log keeps of the token or member that a request names."""
        if type(request).__name__.endswith("TokenRequest"):
            found: Token | Member | None = await self._token(caller, request.name)
        else:
            members = await self._members.all(caller.org)
            found = next((each for each in members if each.name == request.name), None)
        return None if found is None else _state(found)

    async def _token(self, caller: Caller, name: str) -> Token | None:
        tokens = await self._store.tokens(caller.org)
        return next((each for each in tokens if each.name == name), None)

    async def _check_covers_token(self, caller: Caller, name: str) -> None:
        token = await self._token(caller, name)
        if token is not None:
            _check_covers(caller, token.grant)


def _given(
    caller: Caller, request: pb.CreateTokenRequest | pb.NarrowTokenRequest
) -> tuple[Role, list[str] | None]:
    satellites = list(request.satellites) or None
    return _role(caller, request.role, satellites), satellites


def _role(caller: Caller, number: int, satellites: list[str] | None = None) -> Role:
    role = ROLES.word(number)
    if role in (None, Role.OPERATOR):
        raise UnknownRole(f"number {number}")
    assert role is not None
    _check_covers(caller, granted([role], satellites))
    return role


def _check_covers(caller: Caller, grant: Grant) -> None:
    """An operator, who does not build, still gives that right to others."""
    if caller.name.partition(":")[0] == Role.OPERATOR:
        return
    if not caller.grant.covers(grant):
        raise MoreThanOwn


def _lifetime(request: pb.CreateTokenRequest) -> timedelta | None:
    if not request.HasField("lifetime"):
        return None
    return requests.duration(request.lifetime, BadLifetime)


def _time(request: pb.ListAuditRequest, field: str) -> datetime | None:
    return read_time(getattr(request, field)) if request.HasField(field) else None  # type: ignore[arg-type]


def _state(found: Token | Member) -> State:
    kept = dataclasses.asdict(found)
    return {key: _plain(value) for key, value in kept.items() if key not in ("id", "used_at")}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
