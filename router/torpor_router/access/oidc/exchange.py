"""An assertion for a token (RFC 8693), or in a token's place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torpor_router.access.audit import Act, Audit
from torpor_router.access.errors import OrgNotNamed
from torpor_router.access.oidc.errors import AssertionReplayed, NoRuleMatches
from torpor_router.access.oidc.rules import TrustRule
from torpor_router.access.oidc.store import TrustRules
from torpor_router.tokens import digest, mint

if TYPE_CHECKING:
    from torpor_router.access.oidc.assertions import Assertion
    from torpor_router.access.oidc.issuers import Issuers


@dataclass(frozen=True, slots=True)
class Given:
    """A token for an assertion; `lifetime` in seconds."""

    token: str = field(repr=False)
    org: str
    role: str
    lifetime: float


class Exchange:
    """Gives tokens to those whom an org's trust rules let in.

    What reads and verifies assertions is loaded with the first one, in a thread: it is a third of
    what a router would import at its start, and most of them never see an assertion.
    """

    def __init__(self, rules: TrustRules, issuers: Callable[[], Issuers], audit: Audit) -> None:
        self._rules = rules
        self._make_issuers = issuers
        self._issuers: Issuers | None = None
        self._audit = audit

    async def exchange(self, text: str, org: str = "", address: str = "") -> Given:
        """A new token of the org's. It may be left out where one org's rules match alone.

        Raises:
            AssertionRefused, AssertionReplayed, NoRuleMatches, OrgNotNamed: there is none for it.
            IssuerAway: nobody can tell.
        """
        assertion, rule = await self._matched(text, org)
        if rule.once and not await self._rules.use(
            assertion.issuer, assertion.id, assertion.believed_until
        ):
            raise AssertionReplayed(assertion.subject)
        token, lifetime = mint(), rule.lifetime.total_seconds()
        await self._give(rule, token, assertion, time.time() + lifetime, address)
        return Given(token, rule.org, rule.role, lifetime)

    async def take_as_token(self, text: str, org: str, address: str = "") -> None:
        """Let the assertion itself be a token of the org's, until it ends.

        Raises:
            as `exchange`.
        """
        assertion, rule = await self._matched(text, org)
        if rule.once:
            raise AssertionReplayed(f"rule {rule.name} takes each one once")
        await self._give(rule, text, assertion, assertion.ends, address)

    async def _matched(self, text: str, org: str) -> tuple[Assertion, TrustRule]:
        issuers = self._issuers or await self._load()
        assertion = issuers.read(text)
        rules = await self._rules.of_issuer(assertion.issuer, org)
        if not rules:
            raise NoRuleMatches(f"none names the issuer {assertion.issuer[:200]!r}")
        assertion.verified(await issuers.key(assertion.issuer, assertion.key_id))
        matching = [rule for rule in rules if rule.matches(assertion.claims)]
        if not matching:
            raise NoRuleMatches(f"subject {assertion.subject!r}")
        if len({rule.org for rule in matching}) > 1:
            raise OrgNotNamed("several orgs trust this identity: name one as the audience")
        return assertion, matching[0]

    async def _load(self) -> Issuers:
        made = await asyncio.to_thread(self._make_issuers)
        self._issuers = self._issuers or made
        return self._issuers

    async def _give(
        self, rule: TrustRule, token: str, assertion: Assertion, ends: float, address: str
    ) -> None:
        await self._rules.give(rule.id, digest(token), assertion.subject, ends)
        after = {"rule": rule.name, "role": rule.role, "issuer": rule.issuer}
        actor = f"oidc:{assertion.subject}"
        await self._audit.write(Act(rule.org, actor, "exchange", rule.name, address, after=after))
