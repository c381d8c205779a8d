"""Stored instants, where the database's clock was set back since they were written.

They lie further ahead than anything that was written by the clock as it is now: nobody is to wait
for them. Heartbeats are their own care (`duties`).
"""

from __future__ import annotations

from datetime import timedelta

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.postgres.pool import Database

_NOW = "select extract(epoch from clock_timestamp())::float8"
# What is locked is being changed, and by that gets instants of now; or it has its turn next time
_CORRECTED = """
with ahead as materialized (
    select id from satellites
    where state_since > now() or idle_since > now()
        or retry_at > now() + $1::interval or claim_deadline > now() + $2::interval
    for update skip locked
), seen as (
    update orphans set first_seen = now() where first_seen > now()
)
update satellites set
    state_since = least(state_since, now()),
    idle_since = case when idle_since > now() then now() else idle_since end,
    sleep_due = case when idle_since > now()
        then now() + greatest(sleep_after, $3::interval) else sleep_due end,
    retry_at = case when retry_at > now() + $1::interval then now() else retry_at end,
    claim_deadline = case when claim_deadline > now() + $2::interval
        then now() + $2::interval else claim_deadline end
where id in (select id from ahead)
"""
_BACK = 1.0  # seconds; less is how clocks are kept right


class Instants:
    def __init__(self, database: Database, config: FleetConfig) -> None:
        self._database = database
        self._ahead: float | None = None  # of the database's clock before this process's own
        self._longest = (
            timedelta(seconds=config.longest_back_off),
            timedelta(
                seconds=max(
                    *(config.longest_wake, config.launch, config.sleep),
                    *(config.update, config.terminate),
                )
            ),
            timedelta(seconds=config.after_wake),
        )

    async def correct(self) -> bool:
        """Bring back what lies too far ahead, if the clock was set back or may have been: what
        this node finds at first counts as that. Whether it looked."""
        asked_at = clock.now()
        ahead = await self._database.fetchval(_NOW) - asked_at
        before, self._ahead = self._ahead, ahead
        if before is not None and ahead > before - _BACK:
            return False
        try:
            await self._database.execute(_CORRECTED, *self._longest)
        except BaseException:
            self._ahead = None
            raise
        return True
