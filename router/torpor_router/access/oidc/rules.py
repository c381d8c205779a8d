"""Trust rules: which assertions they match. Pure, without I/O.

In a pattern `*` stands for any characters, none included; everything else for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from torpor_router.access.oidc.errors import BadTrustRule
from torpor_router.access.roles import Role

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=1)
DEFAULT_LIFETIME = timedelta(hours=1)
LONGEST_TEXT = 500  # characters of an issuer, an audience, a pattern or a value that one matches
MOST_CLAIMS = 20
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?")  # as in migrations/


@dataclass(frozen=True, slots=True)
class NewTrustRule:
    """`claims` are patterns by claim; `satellites` is None for all of the org's.

    `once` says that each assertion is good for one exchange.

    Raises:
        BadTrustRule: it would match what nobody can mean, or nothing.
    """

    name: str
    issuer: str
    audience: str
    subject: str
    role: Role
    claims: Mapping[str, str]
    satellites: tuple[str, ...] | None = None
    lifetime: timedelta = DEFAULT_LIFETIME
    once: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadTrustRule(f"{self.name[:60]!r} is no name for one")
        _check_issuer(self.issuer)
        for what in ("audience", "subject"):
            _check_text(what, getattr(self, what))
        if not self.subject.strip("*") and not self.claims:
            raise BadTrustRule("a subject of '*' alone, without a claim, would let in everybody")
        if len(self.claims) > MOST_CLAIMS:
            raise BadTrustRule(f"{len(self.claims)} claims: {MOST_CLAIMS} at most")
        for claim, pattern in self.claims.items():
            _check_text("claim", claim)
            _check_text(f"pattern of {claim!r}", pattern)
        if not SHORTEST <= self.lifetime <= LONGEST:
            raise BadTrustRule(f"a lifetime of {self.lifetime}")


@dataclass(frozen=True, slots=True)
class TrustRule:
    """One as it is kept, with the org that it is of."""

    id: UUID
    org_id: UUID
    org: str
    name: str
    issuer: str
    audience: str
    subject: str
    claims: Mapping[str, str]
    role: Role
    satellites: tuple[str, ...] | None
    lifetime: timedelta
    once: bool

    def matches(self, claims: Mapping[str, Any]) -> bool:
        """Whether an assertion with these claims, whose signature was verified, is meant."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        return (
            claims.get("iss") == self.issuer
            and self.audience in audiences
            and fits(self.subject, claims.get("sub"))
            and all(fits(pattern, claims.get(claim)) for claim, pattern in self.claims.items())
        )


def fits(pattern: str, value: Any) -> bool:
    """Whether a claim's value fits; numbers and truth values are taken as JSON writes them."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int):
        value = str(value)
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        return False
    return _compiled(pattern).fullmatch(value) is not None


@lru_cache(1_000)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Each `*` takes as little as it can, once, so that no value takes long to match."""
    head, *rest = (re.escape(part) for part in re.split(r"\*+", pattern))
    # (?>...) gives nothing back: the leftmost place of each part is as good as any later one
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    tail = f".*{rest[-1]}" if rest else ""
    return re.compile(head + middle + tail, re.DOTALL)


def _check_issuer(issuer: str) -> None:
    _check_text("issuer", issuer)
    try:
        url = urlsplit(issuer)
        usable = url.scheme == "https" and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in issuer or "?" in issuer or "#" in issuer or "*" in issuer:
        raise BadTrustRule(f"issuer {issuer[:80]!r}")


def _check_text(what: str, text: str) -> None:
    if not 0 < len(text) <= LONGEST_TEXT or not text.isprintable():
        raise BadTrustRule(f"{what} {text[:80]!r}")
