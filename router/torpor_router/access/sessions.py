"""Who is signed in to the status page: a secret that the browser keeps, and the token behind it.

Both are kept as their SHA-256 alone. A session shows no more than its token may look at, and ends
with it. Browsers with a session that nobody knows are bounded: so many guesses of an address, and
`_AT_ONCE` questions to the database in all.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta

from torpor_router.access.guesses import Guesses
from torpor_router.tokens import RANDOM_BYTES, digest
from torpor_statemachine.postgres.pool import Database, DatabaseAway

LASTS = timedelta(hours=12)
MOST_OF_TOKEN = 20  # then the oldest ends
_REMEMBERED = 1_000  # for the time that the database is away
_LONGEST = 100  # characters of a secret
_BATCH = 1_000
_AT_ONCE = 2  # sessions not known here that are looked for

_BEGIN = f"""
with crowded as (
    select id from status_sessions where token_hash = $2
     order by expires_at desc offset {MOST_OF_TOKEN - 1}
), ended as (
    delete from status_sessions where id in (select id from crowded)
)
insert into status_sessions (id, token_hash, expires_at) values ($1, $2, now() + $3)
"""
_FIND = "select token_hash from status_sessions where id = $1 and expires_at > now()"
_END = "delete from status_sessions where id = $1"
_LIVE = "select id from status_sessions where id = any($1::bytea[]) and expires_at > now()"
_PRUNE = """
with gone as (
    delete from status_sessions where id = any(array(
        select id from status_sessions where expires_at < now() limit $1))
    returning id
)
select count(*) from gone
"""


class Sessions:
    """A session's id is the SHA-256 of its secret."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._guesses = Guesses()
        self._asking = asyncio.Semaphore(_AT_ONCE)

    def __repr__(self) -> str:
        return f"<Sessions, {len(self._known)} remembered>"

    async def begin(self, token_hash: bytes) -> str:
        """The secret of a new session, for its browser alone.

        Raises:
            DatabaseAway: it could not be written down.
        """
        secret = secrets.token_urlsafe(RANDOM_BYTES)
        await self._database.execute(_BEGIN, digest(secret), token_hash, LASTS)
        self._remember(digest(secret), token_hash)
        return secret

    async def token_of(self, session_id: bytes, address: str) -> bytes | None:
        """The hash of the token that it was begun with, if it has not ended; what is known of it
        here, while the database is away. `address` is the browser's.

        Raises:
            DatabaseAway: nothing is known of it here.
            TooManyGuesses: nor is it, and the address showed too many that nobody has.
        """
        if session_id in self._known:
            return await self._find(session_id)
        async with self._asking:
            self._guesses.check(address, time.monotonic())
            found = await self._find(session_id)
            if found is None:
                self._guesses.count(address, time.monotonic())
        return found

    async def _find(self, session_id: bytes) -> bytes | None:
        try:
            found: bytes | None = await self._database.fetchval(_FIND, session_id)
        except DatabaseAway:
            if session_id in self._known:
                return self._known[session_id]
            raise
        self._known.pop(session_id, None)
        if found is not None:
            self._remember(session_id, found)
        return found

    def _remember(self, session_id: bytes, token_hash: bytes) -> None:
        self._known[session_id] = token_hash
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def end(self, session_id: bytes) -> None:
        """
        Raises:
            DatabaseAway: it goes on elsewhere; not here.
        """
        self._known.pop(session_id, None)
        await self._database.execute(_END, session_id)

    async def live(self, those: Sequence[bytes]) -> set[bytes]:
        """Those that have not ended."""
        return {row["id"] for row in await self._database.fetch(_LIVE, list(those))}

    async def prune(self) -> int:
        gone: int = await self._database.fetchval(_PRUNE, _BATCH)
        return gone


def id_of(secret: str) -> bytes | None:
    """The id of the session with that secret; None: there can be none."""
    return digest(secret) if 0 < len(secret) <= _LONGEST and secret.isascii() else None
