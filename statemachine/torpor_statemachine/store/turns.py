"""What one node does for the whole fleet: whose turn it is."""

from __future__ import annotations

from datetime import datetime, timedelta

from torpor_statemachine.postgres.pool import Database

# Mostly no turn is due, and nothing is written. A turn that began after now() was taken while
# this statement waited; one far in the future, before the database's clock was set back.
_TAKE = """
with due as (
    select where not exists (
        select from fleet_duties
        where name = $1 and begun_at between now() - $2::interval and now() + $2::interval)
)
insert into fleet_duties as last (name, begun_at) select $1, now() from due
on conflict (name) do update set begun_at = now()
    where last.begun_at not between now() - $2::interval and now() + $2::interval
returning begun_at
"""


class Turns:
    """Any node may ask at any time; a duty is begun by one of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, duty: str, pause: float) -> datetime | None:
        """Begin `duty` if nobody has for `pause` seconds: since when, by the database's clock.

        None: it is not due. A node that dies in the middle leaves it to the next turn.
        """
        begun: datetime | None = await self._database.fetchval(
            _TAKE, duty, timedelta(seconds=pause)
        )
        return begun
