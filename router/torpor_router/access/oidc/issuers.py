"""The keys of identity providers: found by discovery, cached by the issuer's own rules.

Only issuers that a trust rule names are ever asked. A key that is not known makes the keys be
fetched again, but not more often than every `_AGAIN`, so that a storm of invented key ids costs
nothing. While an issuer is away, the keys that it had go on for a day.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from torpor_router.access.oidc import assertions
from torpor_router.access.oidc.assertions import Assertion, Key
from torpor_router.access.oidc.errors import AssertionRefused, IssuerAway

log = logging.getLogger(__name__)

_AGAIN = 30.0  # seconds between two fetches for keys that are not known
_SHORTEST, _USUAL, _LONGEST = 60.0, 3_600.0, 86_400.0  # seconds for which keys are good
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
_LARGEST = 256 * 1024  # octets of a document
_MOST_KEYS = 100
_MOST = 1_000  # issuers remembered
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})")


class Issuers:
    """Fetches keys over HTTPS. `context` says which CAs are believed; without one, the system's."""

    def __init__(self, clock: Callable[[], float], context: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._context = context
        self._issuers: OrderedDict[str, _Issuer] = OrderedDict()
        self.fetches = 0

    def __repr__(self) -> str:
        return f"<Issuers {len(self._issuers)} known, {self.fetches} fetches>"

    def read(self, text: str) -> Assertion:
        """
        Raises:
            AssertionRefused: it is no signed JWT.
        """
        return assertions.read(text)

    async def key(self, issuer: str, key_id: str) -> Key:
        """
        Raises:
            AssertionRefused: the issuer has no such key.
            IssuerAway: nobody can tell.
        """
        known = self._issuers.setdefault(issuer, _Issuer())
        self._issuers.move_to_end(issuer)
        if len(self._issuers) > _MOST:
            self._issuers.popitem(last=False)
        async with known.lock:
            now = self._clock()
            unknown = key_id not in known.keys and now >= known.fetched + _AGAIN
            if now >= known.good_until or unknown:
                await self._refresh(issuer, known, now)
            if key_id not in known.keys:
                if known.failed:
                    raise IssuerAway(f"{issuer}: {known.failed}")
                raise AssertionRefused(f"{issuer} has no key {key_id[:80]!r}")
            return known.keys[key_id]

    async def _refresh(self, issuer: str, known: _Issuer, now: float) -> None:
        try:
            keys, seconds = await self._fetch(issuer)
        except (
            aiohttp.ClientError,
            TimeoutError,
            ValueError,
            TypeError,
            JoseError,
            OSError,
        ) as error:
            known.failed = str(error) or type(error).__name__
            known.fetched, known.good_until = now, now + _AGAIN
            log.warning("the keys of %s cannot be fetched: %s", issuer, known.failed)
            if now >= known.believed_until:
                known.keys = {}
            return
        known.failed = ""
        known.keys = keys
        known.fetched, known.good_until = now, now + seconds
        known.believed_until = now + _LONGEST

    async def _fetch(self, issuer: str) -> tuple[dict[str, Key], float]:
        self.fetches += 1
        connector = aiohttp.TCPConnector(ssl=self._context or True)
        async with aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, trust_env=True
        ) as session:
            about, _ = await _document(
                session, issuer.rstrip("/") + "/.well-known/openid-configuration"
            )
            if about.get("issuer") != issuer:
                raise ValueError("its discovery document is another issuer's")
            where = about.get("jwks_uri")
            if not isinstance(where, str) or urlsplit(where).scheme != "https":
                raise ValueError("its discovery document has no https 'jwks_uri'")
            found, seconds = await _document(session, where)
        return _keys(found), seconds


class _Issuer:
    __slots__ = ("believed_until", "failed", "fetched", "good_until", "keys", "lock")

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.fetched = self.good_until = self.believed_until = float("-inf")
        self.failed = ""
        self.lock = asyncio.Lock()


async def _document(session: aiohttp.ClientSession, url: str) -> tuple[dict[str, Any], float]:
    """A JSON object, and for how many seconds it is good."""
    async with session.get(url, allow_redirects=False) as reply:
        if reply.status != 200:
            raise ValueError(f"{url} answered {reply.status}")
        octets = bytearray()
        async for chunk in reply.content.iter_chunked(64 * 1024):
            octets += chunk
            if len(octets) > _LARGEST:
                raise ValueError(f"{url} answered more than {_LARGEST} octets")
        found = json.loads(octets)
        if not isinstance(found, dict):
            raise TypeError(f"{url} answered no JSON object")
        age = _MAX_AGE.search(reply.headers.get("cache-control", "").lower())
        seconds = float(age[1]) if age else _USUAL
        return found, min(max(seconds, _SHORTEST), _LONGEST)


def _keys(document: dict[str, Any]) -> dict[str, Key]:
    """Those that sign and can be used here, by their id."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise ValueError("its key set is none")
    keys: dict[str, Key] = {}
    for each in listed:
        if isinstance(each, dict) and each.get("use", "sig") == "sig" and "kid" in each:
            try:
                [key] = KeySet.import_key_set({"keys": [each]}).keys
            except (JoseError, ValueError, KeyError, TypeError):
                continue  # of a kind that is not known here: others may be
            if isinstance(key, RSAKey | ECKey | OKPKey):
                keys[str(each["kid"])] = key
    return keys
