"""Passes on what this node has done and heard to those of its parts that it concerns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_statemachine.events import Observer
from torpor_statemachine.lifecycle.departure import departure
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.node.lease_keeper import LeaseKeeper
from torpor_statemachine.store.changes import Changed
from torpor_statemachine.store.nodes import NodeStatus
from torpor_statemachine.waiting.notifier import Notifier
from torpor_statemachine.work.coordinator import Coordinator

logger = logging.getLogger(__name__)


class Switchboard:
    """It is made before those whom it tells, for they tell it, too: `connect` them before the first
    heartbeat."""

    def __init__(self, observer: Observer, notifier: Notifier) -> None:
        self._observer = observer
        self._notifier = notifier
        self._adopting: set[asyncio.Task[None]] = set()

    def connect(
        self,
        lease_keeper: LeaseKeeper,
        coordinator: Coordinator,
        get: Callable[[UUID], Awaitable[Satellite]],
    ) -> None:
        self._lease_keeper = lease_keeper
        self._coordinator = coordinator
        self._get = get

    def on_changed(self, changed: Changed) -> None:
        """This node has made a transition: nobody here has to wait for the notification of it."""
        self._observer.transitioned(changed.transition, changed.satellite)
        if (left := departure(changed.transition)) is not None:
            self._lease_keeper.left(left)
        self.heard(changed.satellite.id, changed.satellite.epoch)

    def heard(self, satellite_id: UUID, epoch: int) -> None:
        """A transition was made, here or elsewhere."""
        self._lease_keeper.heard(satellite_id, epoch)
        self._coordinator.heard(satellite_id, epoch)
        self._notifier.notify(satellite_id)

    def confirmed(self, status: NodeStatus, asked_at: float, answered_at: float) -> None:
        """A heartbeat has told what this node holds."""
        self._lease_keeper.compare(status, asked_at)
        for satellite_id in self._coordinator.confirm(status, asked_at, answered_at):
            task = asyncio.create_task(self._adopt(satellite_id), name=f"adopt {satellite_id}")
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)

    def renamed(self) -> None:
        """The node's term has ended, and another began."""
        self._coordinator.renamed()
        self._lease_keeper.renamed()

    def set_forth(self) -> None:
        """The database's clock: the claims of this node are not over for that."""
        task = asyncio.create_task(self._coordinator.keep_deadlines(), name="keep deadlines")
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopt(self, satellite_id: UUID) -> None:
        """Go on with a claim of this node's own whose answer never came."""
        try:
            satellite = await self._get(satellite_id)
            if satellite.claimed_by == self._coordinator.node_id:
                await self._coordinator.take_over(satellite, "the claim's answer was lost")
        except TorporError as error:
            logger.warning("a claim of this node's own is left to its deadline: %s", error)

    async def aclose(self) -> None:
        for task in self._adopting:
            task.cancel()
        await asyncio.gather(*self._adopting, return_exceptions=True)
