"""This node's life: its heartbeat, and what it may still believe when that fails.

A claim may be acted on, and a lease admitted on, only while the database is sure to still hold
them in this node's name. That is measured from before the heartbeat was sent, on a clock that
cannot be set, and ends `safety` seconds early. A node that was paused finds both over when it
comes back, before it does anything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.events import Observer
from torpor_statemachine.node.server_clock import ServerClock
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.nodes import NodeReport, Nodes, NodeStatus

logger = logging.getLogger(__name__)


class Node:
    """`confirmed(status, asked_at, answered_at)` is called after each heartbeat, `renamed()` when
    the term had ended and a new one began: no claim or lease of the old one counts; `set_forth()`
    when the database's clock was: the deadlines of this node's claims came too soon."""

    def __init__(
        self,
        node_id: UUID,
        nodes: Nodes,
        config: FleetConfig,
        observer: Observer,
        *,
        confirmed: Callable[[NodeStatus, float, float], None],
        renamed: Callable[[], None],
        set_forth: Callable[[], None],
    ) -> None:
        self.id = node_id
        self.term = 0
        self._living = 1
        self._nodes = nodes
        self._config = config
        self._observer = observer
        self._confirmed = confirmed
        self._renamed = renamed
        self._set_forth = set_forth
        self._server_clock = ServerClock(config)
        self._acts_since = 0.0
        self._acts_until = 0.0
        self._leases_until = 0.0
        self._server: datetime | None = None
        self._served_since = 0.0
        self._beaten = asyncio.Event()
        self._answers = True
        self._report: Callable[[], NodeReport] = NodeReport
        self._drain: Callable[[str], None] = lambda _: None

    def __repr__(self) -> str:
        trust = "trusted" if self.leases_hold() else "not trusted"
        return f"<Node {self.id} in term {self.term}, {trust}>"

    def acts_for(self, confirmed_at: float) -> float:
        """Seconds for which a claim that was this node's at `confirmed_at` surely still is.

        Belief that has lapsed does not come back by a heartbeat alone: in between another node
        may have taken the claim over. Either the claim is younger, or the heartbeat told of it.
        """
        return self._acts_until - clock.now() if self._acts_since <= confirmed_at else 0.0

    def judges(self) -> bool:
        """Whether the database has answered for long enough to tell the silence of others from its
        own: else every node that lives has had its chance to beat."""
        return self._acts_since + self._config.heartbeat * 1.25 < clock.now() < self._acts_until

    def latest(self) -> float:
        """What the database's clock may show for a node's silence to count; see `ServerClock`."""
        return self._server_clock.latest()

    def settled_server(self) -> datetime | None:
        """The server that has answered for so long that each node which has beaten there has taken
        again what was missing of its leases; None: it may be another one by now. Whether each has
        is the database's to say (`server_settled`, in migrations/)."""
        settled = self._served_since + self._config.claims_live < clock.now()
        return self._server if settled else None

    def leases_hold(self) -> bool:
        """Whether this node's leases surely still count."""
        return clock.now() < self._leases_until

    def living(self) -> int:
        """Nodes, this one included, as the last heartbeat has seen them."""
        return self._living

    async def next_beat(self) -> None:
        """Returns when a heartbeat has just told what this node holds."""
        self._beaten.clear()
        await self._beaten.wait()

    def tells(self, report: Callable[[], NodeReport], drain: Callable[[str], None]) -> None:
        """Tell `report()` with each heartbeat; call `drain` while an operator wants that."""
        self._report, self._drain = report, drain

    async def register(self) -> None:
        asked_at = clock.now()
        self.term = await self._nodes.register()
        self._trust(asked_at, asked_at)

    async def beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(clock.jittered(self._config.heartbeat) if self._answers else 0.25)
            try:
                await self.beat()
            except DatabaseAway as error:
                self._say(answers=False, why=str(error))
            except Exception:
                logger.exception("a heartbeat failed")
            else:
                self._say(answers=True)

    async def beat(self) -> None:
        """Renew, or begin a new term."""
        asked_at = clock.now()
        status = await self._nodes.renew(self.term, self._report(), sure=self.leases_hold())
        if status is None:
            logger.warning("term %d has ended; beginning another", self.term)
            self.term = await self._nodes.register()
            self._renamed()
            # Claims may have been lost in between: nothing is trusted before that is known
            await self.beat()
            return
        answered_at = clock.now()
        if status.server != self._server:
            self._server, self._served_since = status.server, answered_at
        self._living = status.living
        if status.drain:
            self._drain(status.drain)
        self._confirmed(status, asked_at, answered_at)
        self._trust(asked_at, answered_at)
        if status.now is not None and self._server_clock.seen(status.now, status.asked_at):
            logger.warning("the database's clock was set forth")
            self._set_forth()

    def _trust(self, asked_at: float, answered_at: float) -> None:
        if answered_at > self._acts_until:  # when in between the renewal took effect is not known
            self._acts_since = answered_at
        self._acts_until = asked_at + self._config.claims_live - self._config.safety
        self._leases_until = asked_at + self._config.leases_live - self._config.safety
        self._beaten.set()

    def _say(self, *, answers: bool, why: str = "") -> None:
        if answers != self._answers:
            self._answers = answers
            self._observer.database(answers=answers)
            if answers:
                logger.warning("the database answers again")
            else:
                logger.error("lost the database: %s", why)
