"""Whom the server lets in: who knows its password, a new one at each start.

Being the owner's account is not enough, for builds may run as the same account (see
docs/local.md). The password stands in the owner's memory and in `server.json`, which only that
account may read; Postgres gets what a password can be checked against (RFC 5803).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import asyncpg

from torpor_statemachine.postgres.embedded.account import Account

FILE = "torpor_hba.conf"  # in place of the cluster's own pg_hba.conf, which other versions use
_PAUSE = 0.01  # seconds
# A password of 256 random bits is not guessed, however fast a guess is; each connection pays.
_ITERATIONS = 1


@dataclass(frozen=True, slots=True)
class Access:
    """To one start of the server: `sockets` is where it listens, `data` where its files are."""

    data: Path
    sockets: str
    account: Account
    password: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def url(self) -> str:
        """For who is let in, with the password."""
        return url_of(self.sockets, self.account.owner, self.password)

    @property
    def owners_url(self) -> str:
        """For the owner, until the server asks for the password."""
        return url_of(self.sockets, self.account.owner)

    def begin(self) -> None:
        """Before the server is started: it lets the owner in, who alone can reach its socket."""
        self._write(f"local all {_quoted(self.account.owner)} peer\n")

    async def ask_for_password(self) -> None:
        """Have the running server let in only who knows the password.

        Raises:
            OSError, asyncpg.PostgresError: it went away.
        """
        connection = await asyncpg.connect(self.owners_url, timeout=5, ssl=False)
        try:
            secret = _secret(self.password)
            await connection.execute(
                f"alter role {_quoted(self.account.owner)} password '{secret}'"
            )
            self._write("local all all scram-sha-256\n")
            await connection.execute("select pg_reload_conf()")
        finally:
            await connection.close()
        while await self._lets_the_owner_in():
            await asyncio.sleep(_PAUSE)

    async def _lets_the_owner_in(self) -> bool:
        try:
            # Without any, one would be looked for in PGPASSWORD and ~/.pgpass
            wrong = url_of(self.sockets, self.account.owner, "wrong")
            connection = await asyncpg.connect(wrong, timeout=5, ssl=False)
        except asyncpg.InvalidAuthorizationSpecificationError:
            return False
        await connection.close()
        return True

    def _write(self, rule: str) -> None:
        """Whatever the server's account has put in the file's place, nothing else is written."""
        new = self.data / f"{FILE}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as out:
            os.fchown(descriptor, self.account.uid, self.account.gid)
            out.write(rule)
        new.replace(self.data / FILE)


def url_of(sockets: str, user: str, password: str = "") -> str:
    """What `asyncpg.connect` takes."""
    who = quote(user, safe="") + (f":{password}" if password else "")
    return f"postgresql://{who}@/postgres?{urlencode({'host': sockets})}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _secret(password: str) -> str:
    """RFC 5803: the scheme, iterations and salt, the stored key and the server key."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    in_base64 = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *in_base64)
