"""The client of torpor.v1.Access behind `satellite token`, `member`, `trust` and `audit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from torpor_router.access.roles import Role
from torpor_router.cli.client import Client
from torpor_router.control.access_views import (
    ROLES,
    ActView,
    ExchangeView,
    MemberView,
    TokenView,
    TrustRuleView,
)
from torpor_router.control.messages import duration_message, time_message
from torpor_router.control.v1 import access_pb2 as pb

_PAGE = 1_000  # acts


class AccessClient(Client):
    """For an org's admins, and for operators who name an org. Fails as `Client` does."""

    def create_token(
        self,
        name: str,
        role: str,
        satellites: Sequence[str],
        *,
        member: str | None,
        lifetime: timedelta | None,
    ) -> tuple[TokenView, str]:
        """The token, and its text. An empty `satellites` means all of the org's."""
        request = pb.CreateTokenRequest(
            name=name,
            role=ROLES.number(Role(role)),
            satellites=satellites,
            member=member or "",
            lifetime=duration_message(lifetime),
        )
        reply = self._ask(self._access.CreateToken, request)
        return TokenView.of(reply.token), reply.text

    def tokens(self, *, revoked: bool) -> list[TokenView]:
        reply = self._ask(self._access.ListTokens, pb.ListTokensRequest(revoked=revoked))
        return [TokenView.of(each) for each in reply.tokens]

    def narrow_token(self, name: str, role: str, satellites: Sequence[str]) -> TokenView:
        request = pb.NarrowTokenRequest(
            name=name, role=ROLES.number(Role(role)), satellites=satellites
        )
        return TokenView.of(self._ask(self._access.NarrowToken, request).token)

    def rotate_token(
        self, name: str, overlap: timedelta, lifetime: timedelta | None
    ) -> tuple[TokenView, str]:
        """Another token of that name, and its text. The old one lasts for the `overlap`."""
        request = pb.RotateTokenRequest(
            name=name, overlap=duration_message(overlap), lifetime=duration_message(lifetime)
        )
        reply = self._ask(self._access.RotateToken, request)
        return TokenView.of(reply.token), reply.text

    def revoke_token(self, name: str) -> TokenView:
        reply = self._ask(self._access.RevokeToken, pb.RevokeTokenRequest(name=name))
        return TokenView.of(reply.token)

    def exchange(self, identity_token: str, org: str) -> ExchangeView:
        """A token for an identity token; `org` may be empty where one alone trusts it."""
        request = pb.ExchangeRequest(subject_token=identity_token, audience=org)
        return ExchangeView.of(self._ask(self._access.Exchange, request))

    def add_member(self, name: str, role: str, *, service: bool) -> MemberView:
        request = pb.AddMemberRequest(name=name, role=ROLES.number(Role(role)), service=service)
        return MemberView.of(self._ask(self._access.AddMember, request).member)

    def members(self) -> list[MemberView]:
        reply = self._ask(self._access.ListMembers, pb.ListMembersRequest())
        return [MemberView.of(each) for each in reply.members]

    def change_member(self, name: str, role: str) -> MemberView:
        request = pb.ChangeMemberRequest(name=name, role=ROLES.number(Role(role)))
        return MemberView.of(self._ask(self._access.ChangeMember, request).member)

    def remove_member(self, name: str) -> MemberView:
        reply = self._ask(self._access.RemoveMember, pb.RemoveMemberRequest(name=name))
        return MemberView.of(reply.member)

    def add_rule(
        self,
        name: str,
        *,
        issuer: str,
        audience: str,
        subject: str,
        claims: Mapping[str, str],
        role: str,
        satellites: Sequence[str],
        lifetime: timedelta,
        once: bool,
    ) -> TrustRuleView:
        rule = pb.TrustRule(
            issuer=issuer,
            audience=audience,
            subject=subject,
            claims=claims,
            role=ROLES.number(Role(role)),
            satellites=satellites,
            lifetime=duration_message(lifetime),
            once=once,
        )
        reply = self._ask(self._access.AddTrustRule, pb.AddTrustRuleRequest(name=name, rule=rule))
        return TrustRuleView.of(reply.rule)

    def rules(self) -> list[TrustRuleView]:
        reply = self._ask(self._access.ListTrustRules, pb.ListTrustRulesRequest())
        return [TrustRuleView.of(each) for each in reply.rules]

    def remove_rule(self, name: str) -> TrustRuleView:
        reply = self._ask(self._access.RemoveTrustRule, pb.RemoveTrustRuleRequest(name=name))
        return TrustRuleView.of(reply.rule)

    def acts(self, since: datetime, org: str = "") -> Iterator[ActView]:
        """The oldest first, asked for page by page. An operator may name an org that is gone."""
        request = pb.ListAuditRequest(since=time_message(since), limit=_PAGE, org=org)
        while page := self._ask(self._access.ListAudit, request).acts:
            yield from map(ActView.of, page)
            request.after = page[-1].id
