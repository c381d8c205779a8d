"""What workers last answered to calls that only look: one answer a satellite and method.

The database itself forgets them when a satellite is made anew or ended (`worker_answers`, in
migrations/).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from torpor_statemachine.postgres.pool import Database

LARGEST = 64 * 1024  # octets, as in migrations/

# Only under the epoch in which it was given: the machine may have been changed since
_KEEP = """
insert into worker_answers (satellite_id, method, answer)
select id, $3, $4 from satellites where id = $1 and epoch = $2 and state = 'running'
on conflict (satellite_id, method) do update
    set answer = excluded.answer, answered_at = excluded.answered_at
"""
_LAST = "select answer, answered_at from worker_answers where satellite_id = $1 and method = $2"


@dataclass(frozen=True, slots=True)
class Answer:
    """A message, as the worker gave it, and when."""

    octets: bytes
    at: datetime


class Answers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, satellite_id: UUID, epoch: int, method: str, answer: bytes) -> None:
        """In the place of the one before; nothing where the satellite has left running since."""
        await self._database.execute(_KEEP, satellite_id, epoch, method, answer)

    async def last(self, satellite_id: UUID, method: str) -> Answer | None:
        row = await self._database.fetchrow(_LAST, satellite_id, method)
        return Answer(row["answer"], row["answered_at"]) if row is not None else None
