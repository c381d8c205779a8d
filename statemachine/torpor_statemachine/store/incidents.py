"""How long wakes took, and what failed, over many satellites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from torpor_statemachine.lifecycle.states import WakeKind
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.overview import Scope

EDGES = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)  # seconds
MOST_WAKES = 20_000  # the newest
MOST_FAILURES = 100

_IN_SCOPE = """
    ($1::uuid is null or satellites.org_id = $1)
    and ($2::text[] is null or satellites.name = any($2))
"""
_WAKES = f"""
with wakes as (
    select step.wake_kind as kind, extract(epoch from step.took)::float8 as took
      from transitions as step join satellites on satellites.id = step.satellite_id
     where step.at > now() - $3::interval and step.wake_kind is not null and step.took is not null
       and {_IN_SCOPE}
     order by step.at desc limit {MOST_WAKES}
)
select kind, width_bucket(took, $4::float8[]) as bucket, count(*) as number,
       percentile_disc(array[0.5, 0.95]) within group (order by took) as quantiles
  from wakes group by grouping sets ((kind, bucket), (kind))
 order by kind, bucket
"""
_FAILURES = f"""
select orgs.name as org, satellites.name, event, at, actor, detail
  from transitions join satellites on satellites.id = transitions.satellite_id
       join orgs on orgs.id = satellites.org_id
 where at > now() - $3::interval and detail like 'TPR-____ %' and {_IN_SCOPE}
 order by at desc, transitions.id desc limit {MOST_FAILURES}
"""


@dataclass(frozen=True, slots=True)
class Wakes:
    """Wakes of one kind: how many took at least the edge before, and less than each of `EDGES`,
    and the last number for those beyond; `half` and nearly all (`most`, 95 %) took so long."""

    kind: WakeKind
    buckets: Sequence[int]
    half: float
    most: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed; `detail` begins with a code."""

    org: str
    name: str
    event: str
    at: datetime
    actor: str
    detail: str


class Incidents:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def wakes(self, scope: Scope, last: timedelta) -> list[Wakes]:
        """Of the kinds that there were, by kind."""
        buckets: dict[str, list[int]] = {}
        quantiles: dict[str, Sequence[float]] = {}
        for row in await self._database.fetch(_WAKES, *_parts(scope), last, list(EDGES)):
            known = buckets.setdefault(row["kind"], [0] * (len(EDGES) + 1))
            if row["bucket"] is None:
                quantiles[row["kind"]] = row["quantiles"]
            else:
                known[row["bucket"]] = row["number"]
        return [Wakes(WakeKind(kind), known, *quantiles[kind]) for kind, known in buckets.items()]

    async def failures(self, scope: Scope, last: timedelta) -> list[Failure]:
        """The newest first."""
        found = await self._database.fetch(_FAILURES, *_parts(scope), last)
        return [Failure(**row) for row in found]


def _parts(scope: Scope) -> tuple[UUID | None, list[str] | None]:
    return scope.org_id, sorted(scope.names) if scope.names is not None else None
