"""An OpenID Connect issuer that does what a test wants."""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeyParameters, RSAKey

Key = RSAKey | ECKey


class Issuer:
    """`url` is its name. `requests` counts what it was asked; `down` lets it answer 503."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.keys: list[Key] = []
        self.url = ""
        self.cache_control = ""
        self.down = False
        self.requests = 0
        self.says_issuer: str | None = None
        self.new_key("first")

    @property
    def context(self) -> ssl.SSLContext:
        """What believes it."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    def write_ca(self, file: Path) -> None:
        self._ca.cert_pem.write_to_path(str(file))

    def new_key(self, key_id: str, kind: str = "RSA") -> Key:
        parameters: KeyParameters = {"kid": key_id, "use": "sig"}
        made: Key = (
            RSAKey.generate_key(2048, parameters)
            if kind == "RSA"
            else ECKey.generate_key("P-256", parameters)
        )
        self.keys.append(made)
        return made

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those of a job as GitHub Actions describes one; None leaves a claim out."""
        now = int(time.time())
        whole = {
            "iss": self.url,
            "aud": "torpor",
            "sub": "repo:acme/app:ref:refs/heads/main",
            "repository": "acme/app",
            "ref_protected": True,
            "run_id": 7,
            "jti": f"job-{time.monotonic_ns()}",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            **changed,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, key: Key | None = None, **changed: Any) -> str:
        """Signed with the newest key unless said."""
        key = key or self.keys[-1]
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        return jwt.encode({"alg": algorithm, "kid": key.kid}, self.claims(**changed), key)

    def unsigned(self, **changed: Any) -> str:
        """With the algorithm "none"."""
        return f"{_part({'alg': 'none', 'kid': 'first'})}.{_part(self.claims(**changed))}."

    def confused(self) -> str:
        """Signed by HMAC with the public key as its secret, which anyone could do."""
        signed = f"{_part({'alg': 'HS256', 'kid': 'first'})}.{_part(self.claims())}"
        secret = self.keys[0].as_pem(private=False)
        return f"{signed}.{_base64(hmac.digest(secret, signed.encode(), 'sha256'))}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Issuer]:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._about)
        app.router.add_get("/keys", self._key_set)
        runner = web.AppRunner(app)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("localhost").configure_cert(context)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        [bound] = runner.addresses
        self.url = f"https://localhost:{bound[1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _about(self, _: web.Request) -> web.Response:
        self._count()
        about = {"issuer": self.says_issuer or self.url, "jwks_uri": f"{self.url}/keys"}
        return web.json_response(about)

    async def _key_set(self, _: web.Request) -> web.Response:
        self._count()
        keys = [key.as_dict(private=False) for key in self.keys]
        headers = {"cache-control": self.cache_control} if self.cache_control else {}
        return web.json_response({"keys": [{"kty": "new", "kid": "?"}, *keys]}, headers=headers)

    def _count(self) -> None:
        self.requests += 1
        if self.down:
            raise web.HTTPServiceUnavailable


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
