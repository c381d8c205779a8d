"""One claimed transition while it is carried out: what a behaviour may do, and until when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from torpor_provisioner.contract import Address, Identity, MachineState, Observed, Provisioner
from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.clock import Retry
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.errors import ProvisionerBroke
from torpor_statemachine.events import Observer
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.changes import Attribution, Changed
from torpor_statemachine.store.transitions import Transitions
from torpor_statemachine.work.clouds import CloudCalls
from torpor_statemachine.work.obstacles import Obstacles
from torpor_statemachine.work.steps import Steps

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

# Where a look shows this, the call that was to bring it about is in the way no more
_UNDER_WAY = {
    State.LAUNCHING: (MachineState.PENDING, MachineState.RUNNING),
    State.WAKING: (MachineState.PENDING, MachineState.RUNNING),
    State.SLEEPING: (MachineState.STOPPING, MachineState.ASLEEP),
}


class OutcomeUnknown(Exception):
    """Time is up, and what became of a call is not known, or it goes on. The node that takes over
    looks first."""


class Probe(Protocol):
    """Whether the worker at `address` answers within `timeout` seconds."""

    async def __call__(self, address: Address, timeout: float) -> bool: ...  # noqa: ASYNC109


class Identify(Protocol):
    """What the machine says of itself at `address`, within `timeout` seconds; None: nothing."""

    async def __call__(self, address: Address, timeout: float) -> Identity | None: ...  # noqa: ASYNC109


class NodeTrust(Protocol):
    """For how long this node may act on what it knows; see `heartbeat.Node`."""

    def acts_for(self, confirmed_at: float) -> float: ...

    async def next_beat(self) -> None: ...

    def settled_server(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class WorkContext:
    """What every behaviour works with."""

    transitions: Transitions
    node: NodeTrust
    probe: Probe
    identify: Identify
    config: FleetConfig
    observer: Observer
    on_changed: Callable[[Changed], None]


class Work:
    """The node's side of one claim.

    `newly_claimed`: this node claimed it just now, from rest, so nothing has been done yet. A node
    that takes work over from another asks the cloud first what is true.
    """

    def __init__(
        self,
        claim: Changed,
        by: Attribution,
        calls: CloudCalls,
        context: WorkContext,
        *,
        newly_claimed: bool,
    ) -> None:
        self.satellite = claim.satellite
        self.by = by
        self.newly_claimed = newly_claimed
        self.undisturbed = newly_claimed  # nothing but the machine itself has taken time
        self.transitions = context.transitions
        self.config = context.config
        self.claimed_at = clock.now()
        self.steps = Steps(claim, self.claimed_at)
        self.confirmed_at = claim.asked_at
        self.completing = False
        self.done = False
        self.obstacles = Obstacles(lambda error: self.transitions.obstructed(self.satellite, error))
        self._deadline = _deadline(claim, context.config)
        self._calls = calls
        self._context = context

    def __repr__(self) -> str:
        how = "newly claimed" if self.newly_claimed else "taken over"
        return f"<Work on {self.satellite!r}, {how}, {self.left():.0f} s left>"

    @property
    def observer(self) -> Observer:
        return self._context.observer

    def left(self) -> float:
        """Seconds for which the claim is surely this node's, whatever other nodes do."""
        return self._deadline - clock.now()

    def age(self) -> float:
        """Seconds since the transition began, under whatever claim."""
        return self.satellite.state_age + clock.now() - self.claimed_at

    @property
    def longest(self) -> float:
        """Seconds that a machine may take to come up, while it is seen to be coming."""
        launching = self.satellite.state is State.LAUNCHING
        return self.config.launch if launching else self.config.longest_wake

    def retry(self) -> Retry:
        return Retry(self.config.first_retry, self.config.longest_retry)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, min(seconds, self.left())))

    async def call(self, name: str, made: Callable[[Provisioner], Awaitable[T]]) -> T:
        """Call the cloud, if the claim is surely still this node's and for as long as it is.

        Raises:
            ProvisionerError: as the cloud told, or TimedOut.
            ProvisionerBroke: whether it had an effect is not known, or there was no time for it.
        """
        while self._context.node.acts_for(self.confirmed_at) <= 0:
            await self._context.node.next_beat()
        if self.left() <= 0:
            raise ProvisionerBroke(f"{name}: its time is up")
        began = clock.now()
        try:
            answer = await self._calls.call(
                name, made, satellite=self.satellite, sure=self._sure_for
            )
        except TorporError as error:
            self.steps.add(name, began, error)
            self.obstacles.met(name, error)
            raise
        self.steps.add(name, began)
        self.obstacles.passed(name)
        return answer

    async def settled_server(self) -> None:
        """Returns when every node has had its time to say what a failover has lost of its own."""
        while self._context.node.settled_server() is None and self.left() > 0:
            await self.pause(clock.jittered(self.config.poll))

    def _sure_for(self) -> float:
        return min(self.left(), self._context.node.acts_for(self.confirmed_at))

    async def look(self) -> Observed:
        """The machine as the cloud shows it now."""
        ref = self.satellite.ref
        assert ref is not None
        seen = (await self.call("observe", lambda provisioner: provisioner.observe([ref])))[ref]
        if seen.state in _UNDER_WAY.get(self.satellite.state, ()):
            self.obstacles.passed("wake", "sleep")
        return seen

    async def answers(self, address: Address) -> bool:
        return await self._context.probe(address, self.config.probe_timeout)

    async def identify(self, address: Address) -> Identity | None:
        return await self._context.identify(address, self.config.identify_timeout)

    async def named(self, ref: str) -> bool:
        """Keep the machine's name in the database; False if the claim is lost."""
        kept = await self.transitions.launched_as(self.satellite, ref)
        if kept:
            self.satellite = replace(self.satellite, ref=ref)
        return kept

    async def complete(
        self,
        write: Callable[Concatenate[Satellite, Attribution, P], Awaitable[Changed | None]],
        *what: P.args,
        **more: P.kwargs,
    ) -> Changed | None:
        """Have one of `Transitions` write the last step, until Postgres has taken it.

        None: the claim was lost, or an earlier try took effect whose answer was lost. In either
        case there is nothing more to do here.
        """
        self.completing = True
        try:
            changed = await self._written(partial(write, self.satellite, self.by, *what, **more))
        finally:
            self.completing = False
        self.obstacles.clear()
        if changed is None:
            self.done = True
            return None
        self.satellite = changed.satellite
        self.steps.last = changed.transition
        self.claimed_at = clock.now()
        self.confirmed_at = changed.asked_at
        self._deadline = _deadline(changed, self.config)
        self.done = changed.satellite.claimed_by is None
        self._context.on_changed(changed)
        return changed

    async def _written(self, write: Callable[[], Awaitable[Changed | None]]) -> Changed | None:
        while True:
            try:
                return await write()
            except DatabaseAway:
                await asyncio.sleep(clock.jittered(self.config.poll))


def _deadline(claim: Changed, config: FleetConfig) -> float:
    """The claim's deadline by this node's clock, early enough for every node to agree on."""
    return claim.asked_at + claim.satellite.claim_left - config.safety
