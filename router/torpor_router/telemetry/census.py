"""How many satellites are in which state, and how many machines are strays: asked of the database
at most every few seconds."""

from __future__ import annotations

import asyncio

from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import Database, DatabaseAway

AGE = 10.0  # seconds for which an answer is not asked for again

_COUNT = """
select 'satellites' as what, state as name, count(*) from satellites
where state <> 'terminated' group by state
union all
select 'strays', provisioner, count(*) from strays group by provisioner
"""


class Census:
    """`counts` and `strays` (by provisioner) are None until asked for, and while the database is
    away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self.counts: dict[str, int] | None = None
        self.strays: dict[str, int] | None = None

    def __repr__(self) -> str:
        return f"<Census {self.counts}>"

    async def refresh(self) -> None:
        """Bring `counts` up to date, unless that was done just now. Many at once are one query."""
        if self._asking is None:
            if asyncio.get_running_loop().time() - self._asked < AGE:
                return
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(self._asking)

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> None:
        try:
            rows = await self._database.fetch(_COUNT)
            found = {row["name"]: row["count"] for row in rows if row["what"] == "satellites"}
            self.counts = {
                state.value: found.get(state.value, 0)
                for state in State
                if state is not State.TERMINATED
            }
            self.strays = {row["name"]: row["count"] for row in rows if row["what"] == "strays"}
        except DatabaseAway:
            self.counts = self.strays = None
        finally:
            self._asked = asyncio.get_running_loop().time()
            self._asking = None
