"""Identity tokens (OpenID Connect Core section 2): read, then verified with the issuer's key."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from torpor_router.access.oidc.errors import AssertionRefused
from torpor_router.names import LONGEST_TOKEN
from torpor_router.tokens import looks_like_assertion

Key = RSAKey | ECKey | OKPKey
# Signatures that only the issuer can make: no "none", and no HS* that a public key could pass for.
ALGORITHMS = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
)
LEEWAY = 30.0  # seconds that clocks may differ
_LONGEST = 500  # characters of an issuer, a subject or an id, as in migrations/
_LATEST = 253_402_300_799  # the end of the year 9999, beyond which databases have no times


@dataclass(frozen=True, slots=True)
class Assertion:
    """What one says of itself. Nothing of it is to be believed before `verified`."""

    text: str = field(repr=False)
    key_id: str
    claims: Mapping[str, Any] = field(repr=False)

    @property
    def issuer(self) -> str:
        return _text(self.claims, "iss")

    @property
    def subject(self) -> str:
        return _text(self.claims, "sub")

    @property
    def ends(self) -> float:
        """In seconds since 1970."""
        return _number(self.claims, "exp")

    @property
    def believed_until(self) -> float:
        """In seconds since 1970: clocks may differ."""
        return self.ends + LEEWAY

    @property
    def id(self) -> str:
        return _text(self.claims, "jti")

    def verified(self, key: Key) -> None:
        """
        Raises:
            AssertionRefused: the issuer did not sign it so, or it is not good now.
        """
        try:
            jwt.decode(self.text, key, algorithms=ALGORITHMS)
        except (JoseError, ValueError) as error:
            raise AssertionRefused(f"its signature: {error}") from error
        now = time.time()
        if self.believed_until <= now:
            raise AssertionRefused("it has expired")
        for claim in ("nbf", "iat"):
            if claim in self.claims and _number(self.claims, claim) > now + LEEWAY:
                raise AssertionRefused(f"it is not good yet ('{claim}')")
        _ = self.subject  # it must have one


def read(text: str) -> Assertion:
    """
    Raises:
        AssertionRefused: it is no signed JWT.
    """
    if len(text) > LONGEST_TOKEN or not looks_like_assertion(text):
        raise AssertionRefused("it is no JWT")
    try:
        compact = jws.extract_compact(text.encode())
        claims = json.loads(compact.payload)
        header = compact.headers()
    except (JoseError, ValueError, RecursionError) as error:
        raise AssertionRefused("it cannot be read as a JWT") from error
    key_id = header.get("kid")
    if not isinstance(claims, dict) or not isinstance(key_id, str):
        raise AssertionRefused("it names no key, or has no claims")
    return Assertion(text, key_id, claims)


def _text(claims: Mapping[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise AssertionRefused(f"'{claim}' is missing, or no text of {_LONGEST} characters at most")
    return value


def _number(claims: Mapping[str, Any], claim: str) -> float:
    value = claims.get(claim)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AssertionRefused(f"'{claim}' is missing, or no number")
    if not 0 <= value <= _LATEST:  # which NaN is not
        raise AssertionRefused(f"'{claim}' is no time")
    return float(value)
