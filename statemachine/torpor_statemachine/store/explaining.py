"""A satellite as people look at it: with what keeps it awake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from torpor_statemachine.errors import RouterSilent, record
from torpor_statemachine.lifecycle.keeping import Keeper, in_words
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.keeping import Keeping
from torpor_statemachine.store.pauses import Pauses
from torpor_statemachine.store.permits import Permits
from torpor_statemachine.store.queries import Queries


class Explaining:
    def __init__(
        self, queries: Queries, keeping: Keeping, pauses: Pauses, permits: Permits
    ) -> None:
        self._permits = permits
        self._queries = queries
        self._keeping = keeping
        self._pauses = pauses

    async def find(self, org_id: UUID, name: str) -> Satellite | None:
        """By its name, and with what keeps it awake: streams, or that sleep is paused; or with what
        keeps it from being woken."""
        found = await self._found(org_id, name)
        return await self._permits.shown(found) if found is not None else None

    async def _found(self, org_id: UUID, name: str) -> Satellite | None:
        found = await self._queries.by_name(org_id, name)
        if found is None or found.state is not State.RUNNING:
            return found
        if found.idle_since is None:
            return kept(found, await self._keeping.of(found.id))
        paused = await self._pauses.of(org_id)
        return replace(found, obstacle=record(paused)) if paused is not None else found


def kept(satellite: Satellite, keepers: Sequence[Keeper]) -> Satellite:
    """With what keeps it awake; where that is silent routers alone, with what to do about them."""
    obstacle = satellite.obstacle
    if keepers and all(each.is_silent for each in keepers):
        obstacle = record(RouterSilent(in_words(keepers)))
    return replace(satellite, keepers=tuple(keepers), obstacle=obstacle)
