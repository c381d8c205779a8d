"""Claims for sleep, all that are due in one statement: its cost does not grow with their number
but for what each row takes."""

from __future__ import annotations

import random
from collections.abc import Collection
from contextlib import ExitStack
from datetime import datetime, timedelta

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.policy import idle_reason
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.changes import Attribution, Changed, Due, claim_idle
from torpor_statemachine.store.pauses import UNPAUSED
from torpor_statemachine.store.transitions import Transitions

_DUE = f"""
select id, epoch, sleep_after from satellites
where state = 'running' and sleep_due <= now() and claimed_by is null and provisioner = any($1)
    and (awake_until is null or awake_until <= now() or wanted is not null or stops_next)
    and {UNPAUSED}
order by sleep_due limit $2
"""
ACTOR = "reaper"
SHARED = 8  # batches to choose one from, so that nodes which look at once take different ones


class Idle:
    """The satellites whose `sleep_after` is over."""

    def __init__(self, database: Database, config: FleetConfig, transitions: Transitions) -> None:
        self._database = database
        self._config = config
        self._transitions = transitions

    async def claim(
        self, provisioners: Collection[str], limit: int, server: datetime
    ) -> list[tuple[Changed, Attribution]]:
        """Claim for sleep those that have been idle the longest, `limit` at most; none if the
        server that answers is another than the one that was started at `server`."""
        seen = await self._database.fetch(_DUE, list(provisioners), limit * SHARED)
        found = [Due(row["id"], row["epoch"], idle_reason(row["sleep_after"])) for row in seen]
        if not found:
            return []
        due = random.sample(found, min(limit, len(found)))
        budget = timedelta(seconds=self._config.sleep)
        with ExitStack() as asking:  # until the answer is there
            for each in due:
                asking.enter_context(self._transitions.asking(each.id))
            by = self._transitions.by(ACTOR, "idle")
            claimed = await claim_idle(
                *(self._database, due, by),
                budget=budget,
                server=server,
                latest=self._transitions.latest(),
            )
        return [
            (changed, self._transitions.by(ACTOR, changed.transition.reason)) for changed in claimed
        ]
