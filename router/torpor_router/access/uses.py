"""When each token was last used, to the minute: what people look at before they revoke one."""

from __future__ import annotations

import asyncio
from uuid import UUID

from torpor_statemachine.postgres.pool import Connection, coded_errors

EVERY = 30.0  # seconds between two notes of the same token, at most one statement
_TIMEOUT = 1.0  # seconds
_NOTE = """
insert into token_uses (token_id, used_at)
select id, date_trunc('minute', now()) from tokens where id = any($1::uuid[])
on conflict (token_id) do update set used_at = excluded.used_at
    where token_uses.used_at < excluded.used_at
"""


class Uses:
    """Tokens that were used since they were last noted."""

    def __init__(self) -> None:
        self._tokens: set[UUID] = set()
        self._next = 0.0

    def __repr__(self) -> str:
        return f"<Uses of {len(self._tokens)} tokens>"

    def add(self, token_id: UUID | None) -> None:
        if token_id is not None:
            self._tokens.add(token_id)

    async def note(self, connection: Connection, now: float) -> None:
        """Write them down, if it is time. `now` is the loop's."""
        if not self._tokens or now < self._next:
            return
        self._next = now + EVERY
        tokens, self._tokens = self._tokens, set()
        with coded_errors():
            async with asyncio.timeout(_TIMEOUT):
                await connection.execute(_NOTE, list(tokens))
