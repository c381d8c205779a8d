"""Many nodes, one transition: claims, and the work that is done under them.

Every change of a satellite is two short writes around slow calls to a cloud: a **claim** (a
conditional UPDATE that one node wins), the work, and a **completion** conditional on the claim's
epoch. What makes that right, and the test that guards it (tests/statemachine/):

1. *At most one node acts; one that lost its claim changes nothing.* Each claim raises the epoch
   and each later write names it (`test_store_claims`). A call to the cloud begins only while the
   node is sure of its heartbeat and the claim's deadline has not come, both by its own clock and
   counted from the question (`Work.call`; `test_node`, `test_coordinator`). Who takes a claim over
   looks again under the lock of its node's row, and a heartbeat reads what it holds after it has
   that lock (`test_store_leases`): it tells of the loss before anything is believed again.
2. *One start call per sleep, one sleep call per idle period.* Only a claim leads to a call, and
   only one claim wins. Who takes work over asks the cloud first and repeats a call only if the
   machine shows that there was none (`test_behaviour_wake`, `test_behaviour_sleep`,
   `test_take_over`).
3. *No satellite with a live stream is put to sleep.* A lease is taken by a write of the
   satellite's row; the claim of `sleep` looks for leases in a new snapshot when it has that row
   (`test_store_leases`). A node admits on a lease only while it is sure of it, and
   gives it up one second before the database does (`test_lease_book`, `test_database_away`).
   What a failover has lost of that is made good before the server that answers now is believed
   (`Node.settled_server`; `test_failover`).
4. *No satellite stays in a passing state.* Every claim has a deadline by the database's clock and
   a node whose heartbeat others can see end. Either's end lets any node take over
   (`test_take_over`). The deadline of a wake is learned from the satellite's own past.
5. *A held request ends exactly once.* One waiter a satellite resolves each future; what stops the
   waiter, whatever it is, fails those that are left (`test_waiters`, `test_database_away`).
6. *The database agrees with the cloud.* See `reconciler` (`test_reconciler`).

The protocol as a whole is explored exhaustively in `test_protocol_exploration`, with nodes that
crash, stand still or lose an answer at each step; leaving out any one of these precautions leads to
a violation there. `test_protocol_guards` holds its conditions against the SQL.

One thing is assumed and cannot be had by claims: a call that was begun takes effect, if ever,
before its claim can be taken over, and never once it was given up. It is called off when its time
or the node's belief ends (`CloudCalls`), and the contract asks of every provisioner that none
leaves a queue, a thread or a slow connection later. A process that is stopped in the very moment
between its last look at the deadline and the socket breaks the assumption, and so does a failover
that loses the claim of a call that is under way; what comes of it is drift, which 6 mends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.errors import TorporError
from torpor_statemachine.errors import UnknownProvisioner
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.changes import Attribution, Changed
from torpor_statemachine.store.nodes import NodeStatus
from torpor_statemachine.work.claimed_work import OutcomeUnknown, Work, WorkContext
from torpor_statemachine.work.clouds import CloudCalls
from torpor_statemachine.work.launch import launch
from torpor_statemachine.work.sleep import sleep
from torpor_statemachine.work.terminate import terminate
from torpor_statemachine.work.update import update
from torpor_statemachine.work.wake import wake

logger = logging.getLogger(__name__)

BEHAVIOURS: Mapping[State, Callable[[Work], Awaitable[None]]] = {
    State.LAUNCHING: launch,
    State.WAKING: wake,
    State.SLEEPING: sleep,
    State.UPDATING: update,
    State.TERMINATING: terminate,
}
LET_GO_AFTER = 5.0  # seconds until work that broke is taken up again


class Coordinator:
    """The work of one node."""

    def __init__(
        self, node_id: UUID, clouds: Mapping[str, CloudCalls], context: WorkContext
    ) -> None:
        self.node_id = node_id
        self._clouds = clouds
        self._context = context
        self._work: dict[UUID, tuple[Work, asyncio.Task[None]]] = {}
        self._unknown: Mapping[UUID, int] = {}
        self._background: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Coordinator with work on {len(self._work)} satellites>"

    def _knows_of(self, satellite_id: UUID) -> bool:
        return satellite_id in self._work or self._context.transitions.asks_about(satellite_id)

    def cloud(self, satellite: Satellite) -> CloudCalls:
        """The one that its machine lives in.

        Raises:
            UnknownProvisioner: this node does not serve it.
        """
        try:
            return self._clouds[satellite.provisioner]
        except KeyError:
            raise UnknownProvisioner(satellite.provisioner) from None

    def carry_out(
        self, changed: Changed, by: Attribution, *, newly_claimed: bool = True, after: float = 0.0
    ) -> None:
        """Do the work of a claim that this node has just won, `after` so many seconds."""
        self._context.on_changed(changed)
        satellite = changed.satellite
        work = Work(changed, by, self.cloud(satellite), self._context, newly_claimed=newly_claimed)
        before = self._work.get(satellite.id)
        if before is not None:
            late = changed.asked_at < before[0].claimed_at  # else a failover has lost epochs
            if late and before[0].satellite.epoch > satellite.epoch:
                return  # the claim was taken over, by this node itself
            before[1].cancel()  # its epoch is over: the claim that was just won has raised it
        task = asyncio.create_task(
            self._do(work, after), name=f"{satellite.state} {satellite.full_name}"
        )
        self._work[satellite.id] = (work, task)

    async def _do(self, work: Work, after: float) -> None:
        try:
            await asyncio.sleep(after)
            while not work.done:
                await BEHAVIOURS[work.satellite.state](work)
        except asyncio.CancelledError:
            logger.info("gave up %r", work)
            raise
        except OutcomeUnknown as why:
            logger.warning("%r is left to the node that takes it over: %s", work, why)
            await self._let_go(work, self._context.config.safety)
        except Exception:
            logger.exception("%r broke", work)
            await self._let_go(work, LET_GO_AFTER)
        finally:
            work.obstacles.clear()
            work.observer.worked(work.steps.worked(work.satellite))
            if (current := self._work.get(work.satellite.id)) and current[0] is work:
                del self._work[work.satellite.id]
        self._go_on_with(work.satellite)

    async def _let_go(self, work: Work, after: float) -> None:
        """Its deadline is the database's, whose clock may have been set since."""
        try:
            await self._context.transitions.let_go(work.satellite, after)
        except TorporError:
            logger.warning("%r is left to its deadline", work)

    def _go_on_with(self, satellite: Satellite) -> None:
        """What was asked for while it fell asleep."""
        if satellite.state is State.ASLEEP and (satellite.wake_requested or satellite.wanted):
            task = asyncio.create_task(self._do_wanted(satellite))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _do_wanted(self, satellite: Satellite) -> None:
        try:
            if satellite.wanted is not None:
                if satellite.sleep_kind is not SleepKind.HIBERNATED:
                    await self.change(
                        satellite
                    )  # else it is woken: if it may be, by the reconciler
            else:
                await self.wake(satellite, "waiting request", "wanted while it fell asleep")
        except TorporError:
            logger.warning("%r is left for the reconciler to go on with", satellite)

    # --- Claims

    async def wake(
        self,
        satellite: Satellite,
        actor: str,
        reason: str = "request",
        *,
        stops_next: bool = False,
    ) -> bool:
        """Claim a wake, after which it stops once if `stops_next`; True if this node is to carry
        it out.

        Raises:
            LimitReached: its org may have no more awake.
        """
        self.cloud(satellite)
        by = self._context.transitions.by(actor, reason)
        changed = await self._context.transitions.wake(satellite, by, stops_next=stops_next)
        if changed is not None:
            self.carry_out(changed, by)
        elif (limit := await self._context.transitions.limit(satellite)) is not None:
            raise limit
        return changed is not None

    async def change(self, satellite: Satellite) -> bool:
        """Go on with a change that was asked for, of a satellite that is asleep: make it, or wake
        the machine first, for what its memory holds fits no other. True if this node does it."""
        wanted = satellite.wanted
        assert wanted is not None
        if satellite.sleep_kind is SleepKind.HIBERNATED:
            return await self.wake(satellite, wanted.by, "to be stopped and changed")
        self.cloud(satellite)
        by = self._context.transitions.by(wanted.by, "asked")
        changed = await self._context.transitions.update(satellite, wanted, by)
        if changed is not None:
            self.carry_out(changed, by)
        return changed is not None

    def announce(self, changed: Changed) -> None:
        """Of a change that needs no work."""
        self._context.on_changed(changed)

    async def take_over(self, satellite: Satellite, reason: str) -> bool:
        """Go on with what another node, or this one, has left undone.

        A claim of its own that is in time is left to the work on it, or to the answer that may
        yet come: a node that acts must know of every claim in its name.
        """
        if satellite.claimed_by == self.node_id and self._in_time(satellite):
            return False
        by = self._context.transitions.by("reconciler", reason)
        budget = self._budget(satellite)
        changed = await self._context.transitions.take_over(satellite, by, budget)
        if changed is not None:
            self.carry_out(changed, by, newly_claimed=False)
        return changed is not None

    def _in_time(self, satellite: Satellite) -> bool:
        """Whether a claim of this node's own is being worked on, or its answer is on its way. For
        how long it may be worked on is by a clock that cannot be set."""
        if satellite.id in self._work:
            return self._work[satellite.id][0].left() > 0
        return satellite.claim_left > 0 and self._context.transitions.asks_about(satellite.id)

    def _budget(self, satellite: Satellite) -> float:
        """What is left of the claim's own time, and enough to find out where it stands."""
        return max(satellite.claim_left, self._context.config.shortest_wake)

    def heard(self, satellite_id: UUID, epoch: int) -> None:
        """A transition was made: work under an older epoch is over, wherever it was ended."""
        if satellite_id not in self._work:
            return
        work, task = self._work[satellite_id]
        if work.satellite.epoch < epoch and not work.completing:
            task.cancel()

    # --- Heartbeats

    def confirm(self, status: NodeStatus, asked_at: float, answered_at: float) -> list[UUID]:
        """Go on with work whose claim the database holds in this node's name; cancel the rest.

        Returns claims in its name that nobody here works on, and did not at the last heartbeat
        either: the answer that would have told of them was lost.
        """
        for satellite_id, (work, task) in list(self._work.items()):
            if status.claims.get(satellite_id) == work.satellite.epoch:
                work.confirmed_at = answered_at
            elif work.claimed_at < asked_at and not work.completing:
                task.cancel()
        unknown = {
            satellite_id: epoch
            for satellite_id, epoch in status.claims.items()
            if not self._knows_of(satellite_id)
        }
        again = [key for key, epoch in unknown.items() if self._unknown.get(key) == epoch]
        self._unknown = unknown
        return again

    def renamed(self) -> None:
        """The term has ended: another node may be taking its claims over now."""
        for work, task in list(self._work.values()):
            if not work.completing:
                task.cancel()

    async def keep_deadlines(self) -> None:
        """Have what is worked on end no sooner than this node believes."""
        while self._work:
            safety = self._context.config.safety
            left = {
                (satellite_id, work.satellite.epoch): work.left() + safety
                for satellite_id, (work, _) in self._work.items()
            }
            try:
                await self._context.transitions.keep_deadlines(left)
            except DatabaseAway:
                await asyncio.sleep(self._context.config.poll)
            else:
                return

    async def aclose(self) -> None:
        """Stop all work where it stands; other nodes take it over."""
        tasks: list[asyncio.Task[Any]] = [task for _, task in self._work.values()]
        tasks += self._background
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
