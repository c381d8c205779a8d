"""How many satellites are in which state, counted by one node for all.

Counting reads every satellite. Metrics are read from each of many processes every few seconds, so
what one of them has counted is kept for the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import Database, Record
from torpor_statemachine.store.turns import Turns

AGE = 5.0  # seconds for which a count serves everybody

# One that is of the future was made before the database's clock was set back
_KEPT = """
select states, strays, counted_at between now() - $1::interval and now() + $1::interval as fresh
from fleet_census
"""
_COUNT = """
with states as (
    select coalesce(jsonb_object_agg(state, number), '{}') as states
    from (select state, count(*) as number from satellites
        where state <> 'terminated' group by state) as each
), strays as (
    select coalesce(jsonb_object_agg(provisioner, number), '{}') as strays
    from (select provisioner, count(*) as number from strays group by provisioner) as each
)
insert into fleet_census (counted_at, states, strays)
select now(), states, strays from states, strays
on conflict (one) do update set
    counted_at = excluded.counted_at, states = excluded.states, strays = excluded.strays
returning states, strays
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Satellites by state, strays by provisioner."""

    states: Mapping[str, int]
    strays: Mapping[str, int]


class Counting:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = Turns(database)

    async def counts(self) -> Counts:
        """As they are, or were a few seconds ago."""
        age = timedelta(seconds=AGE)
        kept = await self._database.fetchrow(_KEPT, age)
        if kept is not None and kept["fresh"]:
            return _counts(kept)
        if kept is not None and await self._turns.take("census", AGE / 2) is None:
            return _counts(kept)  # another counts now
        row = await self._database.fetchrow(_COUNT)
        assert row is not None
        return _counts(row)


def _counts(row: Record) -> Counts:
    states = json.loads(row["states"])
    return Counts(
        states={
            state.value: states.get(state.value, 0)
            for state in State
            if state is not State.TERMINATED
        },
        strays=json.loads(row["strays"]),
    )
