"""Claims for sleep, all that are due in one transaction: its cost does not grow with their number
but for what each row takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from datetime import timedelta

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import idle_reason
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Connection, Database
from torpor_statemachine.store import rows
from torpor_statemachine.store.changes import By, Changed, claim_all
from torpor_statemachine.store.transitions import Transitions

# The lock comes first and the look for leases is a statement of its own, as in `transitions`; a
# row that another node has locked is that node's to put to sleep, or has just been wanted.
_DUE = f"""
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.state = 'running' and s.sleep_due <= now() and s.claimed_by is null
    and s.provisioner = any($1)
order by s.sleep_due limit $2
for update of s skip locked
"""
_LEASED = "select satellite_id from leases where satellite_id = any($1)"
ACTOR = "reaper"


class Idle:
    """The satellites whose `sleep_after` is over."""

    def __init__(self, database: Database, config: FleetConfig, transitions: Transitions) -> None:
        self._database = database
        self._config = config
        self._transitions = transitions

    async def claim(self, provisioners: Collection[str], limit: int) -> list[tuple[Changed, By]]:
        """Claim for sleep those that have been idle the longest, `limit` at most."""
        with ExitStack() as asking:  # until the answer to the commit is there
            async with self._database.transaction() as connection:
                found = await connection.fetch(_DUE, list(provisioners), limit)
                due = [rows.satellite(row) for row in found]
                for satellite in due:
                    asking.enter_context(self._transitions.asking(satellite.id))
                return await self._claim(connection, due) if due else []

    async def _claim(
        self, connection: Connection, due: Sequence[Satellite]
    ) -> list[tuple[Changed, By]]:
        told = await connection.fetch(_LEASED, [satellite.id for satellite in due])
        leased = {row["satellite_id"] for row in told}
        alike = defaultdict(list)
        for satellite in due:
            if satellite.id not in leased:
                alike[idle_reason(satellite)].append(satellite)
        budget = timedelta(seconds=self._config.sleep)
        claimed = []
        for reason, satellites in alike.items():
            by = self._transitions.by(ACTOR, reason)
            changes = await claim_all(connection, satellites, Event.SLEEP, by, budget=budget)
            claimed += [(changed, by) for changed in changes]
        return claimed
