"""The decision for each request, and for each call of the control service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from typing import Self

from torpor_provisioner.errors import Status, TorporError
from torpor_router.access.audit import Act, Audit
from torpor_router.access.errors import BadToken, OtherOrg
from torpor_router.access.guesses import Guesses
from torpor_router.access.lookups import Lookups
from torpor_router.access.oidc.errors import AssertionRefused, NoRuleMatches
from torpor_router.access.oidc.exchange import Exchange
from torpor_router.access.revocation_cache import RevocationCache
from torpor_router.access.verdict import Caller, Verdict, caller_only
from torpor_router.access.verdict_cache import VerdictCache
from torpor_router.errors import NoCredentials
from torpor_router.peer_info import UNKNOWN_PEER, PeerInfo
from torpor_router.routing import Ask, Certificate, Route
from torpor_router.tokens import digest, looks_like_assertion
from torpor_statemachine.postgres.pool import Database

_WRONG = (AssertionRefused, NoRuleMatches)
PATIENCE = 10.0  # seconds that somebody unknown waits for a database that is away


class Directory:
    """Implements `routing.Directory` and the control service's `Callers`.

    It answers from `start` to `aclose`. A revoked or expired token or certificate, and a satellite
    that was terminated, stop new streams within 2 seconds. While the database is away, those who
    were let in lately are let in for another minute (see `cache`), and others wait `patience`
    seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        audit: Audit | None = None,
        exchange: Exchange | None = None,
        patience: float = PATIENCE,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._cache = VerdictCache()
        self._audit = audit
        self._exchange = exchange
        self._guesses = Guesses()
        self._patience = patience
        self._refused = RevocationCache()
        self._lookups = Lookups(database, self._cache, self._refused, self._clock)

    def __repr__(self) -> str:
        return f"<Directory {self._cache}>"

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def start(self) -> None:
        """Begin to answer; returns at once."""
        self._lookups.start()

    async def aclose(self) -> None:
        await self._lookups.aclose()

    def route_now(self, ask: Ask) -> Route | None:
        """The decision if it is remembered and still believed; no I/O."""
        verdict = self._cache.good(ask, self._clock())
        return verdict.route if verdict is not None else None

    def is_refused(self, certificate: Certificate) -> bool:
        """Whether the certificate is revoked, as far as is known to those who `on_refused`."""
        return certificate in self._refused

    def on_refused(
        self, on_refused: Callable[[Set[str]], None], needed: Callable[[], bool] = lambda: True
    ) -> None:
        """Call `on_refused` with the serial numbers and SHA-256 of certificates that were revoked.

        While nobody has `needed` to know, it is not asked for, and told when somebody does.
        """
        self._refused.watch(on_refused, needed)

    async def route(self, ask: Ask, peer: str = "", token: Callable[[], str] = lambda: "") -> Route:
        """The decision, from memory or the database. A `peer` has a few look-ups at a time.

        `token` gives the text of a token that is not known: it may be an identity provider's.

        Raises:
            BadToken, TokenEnded, UnknownCertificate, CertificateRevoked, CertificateEnded: it
                cannot be told who asks.
            OtherOrg, OtherSatellite: it is not for them, whether it exists or not.
            NoSuchSatellite: their org has none of that name.
            DatabaseAway, TooManyLookups, IssuerAway: nobody can tell.
            TooManyGuesses: the peer's address showed too many wrong tokens.
        """
        verdict = await self._decided(ask, peer, self._patience, "door", token)
        assert verdict.route is not None
        return verdict.route

    async def caller(self, token: str, peer: PeerInfo = UNKNOWN_PEER, org: str = "") -> Caller:
        """Whose token that is. `org` is the one that the call names; an operator's may be any.

        Raises:
            NoCredentials, BadToken, TokenEnded: it belongs to no caller.
            OtherOrg: the peer's certificate, or `org`, is another than the token's.
            UnknownOrg: an operator named one that does not exist.
            DatabaseAway, TooManyLookups: nobody can tell.
        """
        if not token:
            raise NoCredentials
        ask = caller_only(digest(token), org)
        patience = min(self._patience, PATIENCE)
        verdict = await self._decided(ask, peer.address, patience, "call", lambda: token)
        assert verdict.caller is not None
        if peer.org not in (None, verdict.caller.org):
            raise OtherOrg("the certificate is of another org than the token")
        return verdict.caller

    async def holder(self, token_hash: bytes, peer: PeerInfo = UNKNOWN_PEER) -> Caller:
        """Whose token has that SHA-256, for one who showed it before.

        Raises:
            BadToken, TokenEnded: it belongs to no caller any more.
            DatabaseAway, TooManyLookups: nobody can tell.
        """
        patience = min(self._patience, PATIENCE)
        verdict = await self._decided(
            caller_only(token_hash), peer.address, patience, "status", lambda: ""
        )
        assert verdict.caller is not None
        return verdict.caller

    async def _decided(
        self, ask: Ask, peer: str, patience: float, action: str, token: Callable[[], str]
    ) -> Verdict:
        is_new = self._cache.any(ask, self._clock()) is None
        if is_new:
            self._guesses.check(peer, self._clock())
        verdict = await self._lookups.verdict(ask, peer, patience)
        if isinstance(verdict.refusal, BadToken):
            try:
                verdict = await self._exchanged(ask, peer, patience, token) or verdict
            except _WRONG:
                self._guesses.count(peer, self._clock())
                raise
            if is_new and isinstance(verdict.refusal, BadToken):
                self._guesses.count(peer, self._clock())
        if verdict.refusal is None:
            return verdict
        caller, refusal = verdict.caller, verdict.refusal
        lacks_rights = refusal.status is Status.PERMISSION_DENIED
        if self._audit is not None and caller is not None and lacks_rights:
            target = f"{ask.org}/{ask.satellite}"
            self._audit.refused(Act(caller.org, caller.name, action, target, peer, refusal.code))
        raise _anew(refusal)

    async def _exchanged(
        self, ask: Ask, peer: str, patience: float, token: Callable[[], str]
    ) -> Verdict | None:
        """The verdict, if the token is an assertion that an org takes as a token."""
        text = token() if self._exchange is not None else ""
        if self._exchange is None or not looks_like_assertion(text):
            return None
        await self._exchange.take_as_token(text, ask.org, peer)
        self._cache.forget(ask)
        return await self._lookups.verdict(ask, peer, patience)


def _anew(error: TorporError) -> TorporError:
    """An error to raise once: a remembered one would gather the tracebacks of all its askers."""
    return type(error)(error.detail)
